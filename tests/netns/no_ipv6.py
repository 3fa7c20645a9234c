# SPDX-License-Identifier: MIT
"""A computer whose system has IPv6 switched off: it joins and talks by IPv4, inside and outside.

    h1 (public), h2 (public, no IPv6) -- inet -- server
"""

from govpn import Computer, Server, wait_mesh
from lab import check


def scenario(lab):
    server = Server(lab).start()
    nodes = [lab.home("open") for _ in range(2)]
    for family in ("all", "default"):
        nodes[1].sysctl(f"net/ipv6/conf/{family}/disable_ipv6", 1)
    a, b = (Computer(lab, node).start() for node in nodes)
    b.join(a.create("party", server)["invite"])
    addresses = wait_mesh(lab, [a, b])
    found = b.interfaces()[b.network()["interface"]]
    check([x.split("/")[0] for x in found] == [addresses[b]], f"addresses {found}")
    check(b.network()["state"] == "up" and not b.network()["problem"], "not up, or with a problem")
