# SPDX-License-Identifier: MIT
"""Leave and come back: the old address; nobody else gets it while it rests, and somebody does afterwards. A leave that
the server does not hear of is none: the tunnels stay.

    h1 .. h5 -- inet -- server (an address rests 6 s instead of 24 h)
"""

import time

from govpn import NO_SERVER, Computer, Server
from lab import check

REST_S = 6


def scenario(lab):
    server = Server(lab, options=("--address-rest", str(REST_S))).start()
    a, b, c, d, e = [Computer(lab, lab.home("open")).start() for _ in range(5)]
    made = a.create("party", server)
    address = b.join(made["invite"])["ipv4"]
    c.join(made["invite"])
    b.ok("leave", made["id"])
    server.kill9()  # what was acknowledged must be on disk
    server.start()
    check(d.join(made["invite"])["ipv4"] != address, "a resting address was given to a newcomer")
    check(b.join(made["invite"])["ipv4"] == address, "another address after coming back")
    for one in (a, c, d):
        one.wait_reaches(address.split("/")[0], 15)

    b.ok("leave", made["id"])
    left = time.monotonic()
    lab.wait(lambda: time.monotonic() > left + REST_S + 1, 10, "the address has rested")
    got = e.join(made["invite"])["ipv4"]
    check(got == address, f"the newcomer has {got}, not the lowest address that is free again")
    a.wait_reaches(got.split("/")[0], 15)

    server.kill9()
    e.refused(NO_SERVER, "leave", made["id"])
    check(e.reaches(a.ipv4(), 1) and a.reaches(got.split("/")[0], 1), "the others took a leave for done that was not")
    e.ok("leave", made["id"], "--force")
    lab.wait(lambda: got.split("/")[0] not in a.peers(), 10, "a leave by force is heard of")
