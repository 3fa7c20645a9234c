# SPDX-License-Identifier: MIT
"""Two computers on one LAN behind one NAT find the short way.

    h1, h1b -- r1 (port NAT) -- inet -- server
"""

from govpn import Computer, Server, wait_mesh
from lab import check


def scenario(lab):
    server = Server(lab).start()
    node = lab.home("port")
    a, b = Computer(lab, node).start(), Computer(lab, lab.lan_host(node.router, "h1b")).start()
    b.join(a.create("home", server)["invite"])
    addresses = wait_mesh(lab, [a, b])
    path = lab.wait(lambda: (p := a.path(addresses[b])) and p["remote"].startswith("192.168.1.") and p, 5, "a local path")
    check(path["kind"] in ("host", "prflx"), f"path {path}")
    return path["remote"]
