# SPDX-License-Identifier: MIT
"""The only network card gets another address, five times: the path is back within 3 s. The same for its
router, where nobody inside sees it: within 8 s.

    h1 (public), h2 -- r2 (port NAT) -- inet -- server
"""

import time

from govpn import group
from lab import check

LIMIT_S, OUTSIDE_LIMIT_S = 3, 8
ALONE = True


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    times = []
    a.settled_path(addresses[b])
    for last in (50, 51, 52, 50, 53):
        lab.new_lan_address(b.node, last)
        start = time.monotonic()
        a.wait_reaches(addresses[b], 20)
        b.wait_reaches(addresses[a], 20)
        times.append(time.monotonic() - start)
    lab.new_public_address(b.node.router, 150)
    start = time.monotonic()
    a.wait_reaches(addresses[b], 20)
    times.append(time.monotonic() - start)
    # The computer does not see a change outside: its next check of the path (each 5 to 7 s) shows the new address.
    check(max(times[:-1]) < LIMIT_S * lab.slow and times[-1] < OUTSIDE_LIMIT_S * lab.slow, f"back after {', '.join(f'{t:.1f}' for t in times)} s")
    return "back after " + ", ".join(f"{t:.1f}" for t in times) + " s"
