# SPDX-License-Identifier: MIT
"""Every pair of NAT kinds that can be joined without a relay is joined; the others are said to be unreachable.

    h1 .. h6, one behind each kind of NAT -- inet -- server
"""

import itertools

from govpn import Computer, Server
from lab import check

KINDS = ("open", "cone", "addr", "port", "sym", "cgnat")
# A port that is new for each destination cannot be met by one that lets in only whom it asked.
HOPELESS = {frozenset(p) for p in (("sym", "port"), ("sym", "cgnat"))}
TIME_LIMIT_S = 90


def scenario(lab):
    server = Server(lab).start()
    computers = {kind: Computer(lab, lab.home(kind), name=kind).start() for kind in KINDS}
    made = computers["open"].create("all", server)
    for kind in KINDS[1:]:
        computers[kind].join(made["invite"])
    addresses = {kind: c.ipv4() for kind, c in computers.items()}
    kinds_of_path = {}
    for one, two in itertools.combinations(KINDS, 2):
        if frozenset((one, two)) not in HOPELESS:
            computers[one].wait_reaches(addresses[two], 20)
            computers[two].wait_reaches(addresses[one], 20)
            kinds_of_path[one, two] = computers[one].path(addresses[two])["kind"]
    for one, two in HOPELESS:
        check(not computers[one].reaches(addresses[two]), f"{one} and {two} are joined: is the lab right?")
        check(computers[one].path(addresses[two]) is None, f"a path between {one} and {two} is claimed")
    return f"{len(kinds_of_path)} pairs joined, {len(HOPELESS)} need a relay"
