# SPDX-License-Identifier: MIT
"""Plan 2.3: the map of connections. ComputerLeft closes and forgets; a peer becomes routable when its channel opens.

    h1, h2, h3 (port NAT, public, cone NAT) -- inet -- server
"""

from govpn import group, wait_mesh
from lab import check


def scenario(lab):
    _, (a, b, c), addresses = group(lab, ["port", "open", "cone"])
    net = a.network()["id"]
    c.ok("leave", net)
    for one in (a, b):
        lab.wait(lambda one=one: addresses[c] not in one.peers(), 5, f"{one.name} forgets the one that left")
        check(not one.reaches(addresses[c]), f"{one.name} reaches the one that left")
    check(a.reaches(addresses[b]), "the others lost each other")

    b.ok("down", net)
    lab.wait(lambda: a.path(addresses[b]) is None, 5, "no path to the one that disconnected")
    check(addresses[b] in a.peers(), "the one that disconnected is no member any more")
    check(not a.reaches(addresses[b]), "the one that disconnected is reached")
    b.ok("up", net)
    check(wait_mesh(lab, [a, b])[b] == addresses[b], "another address after `up`")
    check(a.path(addresses[b]), "a ping without a path in the status")
