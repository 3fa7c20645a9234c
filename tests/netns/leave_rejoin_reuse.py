# SPDX-License-Identifier: MIT
"""Leave and come back: the old address; meanwhile nobody else gets it. (24 h of rest: unit tests, with their clock.)

    h1, h2, h3, h4 -- inet -- server
"""

from govpn import Computer, Server
from lab import check


def scenario(lab):
    server = Server(lab).start()
    a, b, c, d = [Computer(lab, lab.home("open")).start() for _ in range(4)]
    made = a.create("party", server)
    address = b.join(made["invite"])["ipv4"]
    c.join(made["invite"])
    b.ok("leave", made["id"])
    check(d.join(made["invite"])["ipv4"] != address, "a resting address was given to a newcomer")
    server.kill9()  # what was acknowledged must be on disk
    server.start()
    check(b.join(made["invite"])["ipv4"] == address, "another address after coming back")
    for one in (a, c, d):
        one.wait_reaches(address.split("/")[0], 15)
