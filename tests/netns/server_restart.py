# SPDX-License-Identifier: MIT
"""A server that stops says so, comes back with everything it had, and a newcomer joins what was made before.

    h1 (port NAT), h2 (public), h3 (public) -- inet -- server
"""

from govpn import Computer, group, wait_mesh
from lab import check


def scenario(lab):
    server, (a, b), addresses = group(lab, ["port", "open"])
    made = a.ok("invite", a.network()["id"]).json()
    check(server.stop() == 0, "the server did not end well")
    check(a.reaches(addresses[b]), "the path ended with the server")
    server.start()
    c = Computer(lab, lab.home("open")).start()
    c.join(made["invite"])
    again = wait_mesh(lab, [a, b, c], 40)
    check(again[a] == addresses[a] and again[b] == addresses[b], "other addresses after the restart")
