# SPDX-License-Identifier: MIT
"""Plan 2.2: every computer has a connection with every other one.

    h1 (port NAT), h2 (cone NAT), h3 (public), h4 (port NAT) -- inet -- server
"""

from govpn import group
from lab import check


def scenario(lab):
    _, computers, addresses = group(lab, ["port", "cone", "open", "cone"])
    for a in computers:
        peers = a.peers()
        check(set(peers) == set(addresses.values()) - {addresses[a]}, f"{a.name} sees {sorted(peers)}")
        for peer in peers.values():
            check(peer["online"] and peer["path"], f"{a.name} has no path to {peer['name']}: {peer}")
    return f"{len(computers) * (len(computers) - 1) // 2} pairs"
