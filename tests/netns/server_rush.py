# SPDX-License-Identifier: MIT
"""Many computers join at the same moment by an invite for one: exactly one is in.

    strangers (100.64.0.0/16) -- inet -- server
"""

import load
from govpn import Server
from lab import check

LONG_TIME_LIMIT_S = 900


def scenario(lab):
    server = Server(lab, tls="off").start()
    strangers = load.strangers(lab)
    count, rounds = (1000, 100) if lab.long else (100, 10)
    found = load.run(strangers, server, "rush", count, rounds)
    check(found["least_joined"] == found["most_joined"] == 1, f"not exactly one joined: {found}")
    check(found["refused"] == (count - 1) * rounds and found["cut"] == 0, f"others were not refused as they should: {found}")
    check(server.stats()["counters"]["joins"] == rounds, "the server counts otherwise")
    return f"{rounds} times 1 of {count}, answers in p99 {found['p99_ms']:.0f} ms"
