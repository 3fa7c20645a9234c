# SPDX-License-Identifier: MIT
"""The daemon is killed with -9 and started again, 20 times: same interface, same address, path back within 3 s.

    h1 (public), h2 -- r2 (port NAT) -- inet -- server
"""

import statistics
import time

from govpn import group
from lab import check

ALONE = True
TIME_LIMIT_S = 150
TIMES, LIMIT_S = 20, 3


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    before = b.network()
    times = []
    for _ in range(TIMES):
        b.kill9()
        start = time.monotonic()
        b.launch()
        lab.wait(lambda: a.reaches(addresses[b], 0.1), 15, "the path is back")
        times.append(time.monotonic() - start)
        after = b.network()
        for key in ("id", "interface", "ipv4", "ipv6"):
            check(after[key] == before[key], f"{key} was {before[key]} and is {after[key]}")
    worst = max(times)
    check(worst < LIMIT_S * lab.slow, f"back after {', '.join(f'{t:.2f}' for t in times)} s")
    return f"back after {statistics.median(times):.2f} s in the median, {worst:.2f} s at worst"
