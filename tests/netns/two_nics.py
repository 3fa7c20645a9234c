# SPDX-License-Identifier: MIT
"""A computer with two network cards in two homes: its path moves when the cable of the one in use is pulled.

                 ___ r1 (port NAT) ___
    inet -------|___ r2 (cone NAT) ___|== h1 (eth0, eth1)      h3 (public) -- inet -- server
"""

import time

from govpn import Computer, Server, wait_mesh
from lab import check


def scenario(lab):
    server = Server(lab).start()
    node = lab.home("port")
    other = lab.home("cone")
    lab.plug(node, other.router, "eth1", metric=100)
    a, b = Computer(lab, node).start(), Computer(lab, lab.home("open")).start()
    b.join(a.create("two cards", server)["invite"])
    addresses = wait_mesh(lab, [a, b])
    times = []
    for dev, back in (("eth0", "eth1"), ("eth1", "eth0")):
        node.carrier(False, dev)
        start = time.monotonic()
        b.wait_reaches(addresses[a], 10)
        times.append(time.monotonic() - start)
        local = lab.wait(lambda: (a.path(addresses[b]) or {}).get("local"), 3, "a path in the status")
        check(local.startswith(node.addresses()[back][0].split("/")[0]), f"without {dev} the path starts at {local}")
        node.carrier(True, dev)
        lab.restore_routes(node)
        lab.wait_ping(node, "203.0.113.10", 5)
    check(a.reaches(addresses[b]) and b.reaches(addresses[a]), "no path in the end")
    return "path back after " + ", ".join(f"{t:.1f} s" for t in times)
