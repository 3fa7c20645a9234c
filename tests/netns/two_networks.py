# SPDX-License-Identifier: MIT
"""Two networks at once on the same two computers: two interfaces, two address ranges, one does not touch the other.

    h1 (port NAT), h2 (public) -- inet -- server
"""

from govpn import Computer, Server
from lab import check


def scenario(lab):
    server = Server(lab).start()
    a, b = Computer(lab, lab.home("port")).start(), Computer(lab, lab.home("open")).start()
    nets = [a.create(name, server) for name in ("work", "games")]
    for net in nets:
        b.join(net["invite"])
    ids = [net["id"] for net in nets]
    for i in ids:
        a.wait_reaches(b.ipv4(i))
        b.wait_reaches(a.ipv4(i))
    check(sorted(a.interfaces()) == ["govpn0", "govpn1"], f"interfaces {sorted(a.interfaces())}")
    check(len({n["subnet"] for n in a.networks()}) == 2, "both networks have the same subnet")
    lost = b.ipv4(ids[0])
    b.ok("down", ids[0])
    lab.wait(lambda: not a.reaches(lost), 5, "the first network ends")
    check(a.reaches(b.ipv4(ids[1])), "the second network ended with the first")
    b.ok("up", ids[0])
    a.wait_reaches(lost)
    check(a.reaches(b.ipv4(ids[1])), "the second network did not survive the first one's return")
