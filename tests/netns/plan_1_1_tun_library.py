# SPDX-License-Identifier: MIT
"""Plan 1.1: the TUN library. The interface is a layer 3 TUN with our MTU; without the right, or without the
device, there is one clear line and an exit code.

    h1 -- inet -- server
"""

from govpn import Computer, Server, NOT_ALLOWED, FAILED
from lab import RUN, check

NO_RIGHT = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--")
NO_DEVICE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")


def ends(lab, node, name, wrap):
    """(exit code, lines of the log) of a daemon that cannot start."""
    computer = Computer(lab, node, name=name, wrap=wrap).launch()
    code = computer.process.wait(10)
    with open(f"{RUN}/{name}-govpnd.log", encoding="utf-8") as f:
        return code, f.read().splitlines()


def scenario(lab):
    server = Server(lab).start()
    node = lab.home("open")
    computer = Computer(lab, node).start()
    computer.create("one", server)
    name = lab.wait(lambda: computer.network()["interface"], 5, "an interface")
    check(name == "govpn0", f"the interface is {name}")
    details = node.run("ip", "-d", "link", "show", name).stdout
    check("tun type tun" in details and "pi off vnet_hdr on" in details, details)
    check("mtu 1380 " in details and "link/none" in details and ",UP" in details, details)
    computer.stop()

    for what, wrap, codes, words in (("noright", NO_RIGHT, (NOT_ALLOWED,), ("CAP_NET_ADMIN", "root")),
                                     ("nodevice", NO_DEVICE, (FAILED, NOT_ALLOWED), ("/dev/net/tun",))):
        code, lines = ends(lab, node, what, wrap)
        check(code in codes, f"{what}: exit code {code}: {lines}")
        check(any(w in " ".join(lines) for w in words), f"{what}: says {lines}")
    return f"{name}, layer 3, MTU 1380"
