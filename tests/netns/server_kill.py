# SPDX-License-Identifier: MIT
"""The server is killed with -9 and started again 3 s later (long: 60 s) under a ping of 100 a second: not one is lost.

    h1 (port NAT), h2 (public) -- inet -- server
"""

import time

from govpn import Pinger, group
from lab import check

ALONE = True
LONG_TIME_LIMIT_S = 180


def scenario(lab):
    server, (a, b), addresses = group(lab, ["port", "open"])
    ping = Pinger(a.node, addresses[b])
    until = time.monotonic() + 1
    lab.wait(lambda: time.monotonic() > until, 5, "a second of pings")
    server.kill9()
    away = 60 if lab.long else 3
    until = time.monotonic() + away
    lab.wait(lambda: time.monotonic() > until, away + 5, "the time without a server")
    server.start()
    for one in (a, b):
        lab.wait(lambda one=one: one.network()["server"]["connected"], 40, f"{one.name} is back at the server")
    # What follows a new login must do no harm either.
    until = time.monotonic() + 2
    lab.wait(lambda: time.monotonic() > until, 5, "two seconds after the return")
    lost, sent = ping.stop()
    check(lost == 0, f"{lost} of {sent} lost")
    return f"0 of {sent} lost"
