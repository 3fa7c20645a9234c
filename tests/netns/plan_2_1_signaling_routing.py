# SPDX-License-Identifier: MIT
"""Plan 2.1: SdpOffer, SdpAnswer and IceCandidate reach their target, inside one network only.

    h1 (one), h2 (one and two), h3 (two), h4 (three) -- inet -- server
"""

from govpn import Computer, Server
from lab import check


def scenario(lab):
    server = Server(lab).start()
    a, b, c, d = [Computer(lab, lab.home("open")).start() for _ in range(4)]
    one, two = a.create("one", server), c.create("two", server)
    d.create("three", server)
    b.join(one["invite"])
    b.join(two["invite"])
    a.wait_reaches(b.ipv4(one["id"]))
    c.wait_reaches(b.ipv4(two["id"]))
    check(len(a.peers()) == 1 and len(c.peers()) == 1, "a member is seen across networks")
    check(set(a.peers()) == {b.ipv4(one["id"])} and set(c.peers()) == {b.ipv4(two["id"])}, "the wrong member is seen")
    check(d.peers() == {}, "the third network has a stranger")
    check(not a.reaches(c.ipv4()) and not c.reaches(a.ipv4()), "a path between two networks")
