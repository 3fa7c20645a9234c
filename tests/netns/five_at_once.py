# SPDX-License-Identifier: MIT
"""Five computers started in the same second: all ten pairs are up within 5 s.

    h1 .. h5 (two port NATs, two cone NATs, one public) -- inet -- server
"""

import time

from govpn import group
from lab import check

ALONE = True
LIMIT_S = 5


def scenario(lab):
    _, computers, addresses = group(lab, ["port", "cone", "open", "cone", "port"], start=False)
    addresses = {c: c.ipv4() for c in computers}
    for c in computers:
        c.stop()
    start = time.monotonic()
    for c in computers:
        c.launch()
    todo = [(a, b) for a in computers for b in computers if a is not b]
    while todo:
        todo = [(a, b) for a, b in todo if not a.reaches(addresses[b], 0.1)]
        check(time.monotonic() - start < 20 * lab.slow, f"no path after 20 s: {[(a.name, b.name) for a, b in todo]}")
    seconds = time.monotonic() - start
    check(seconds < LIMIT_S * lab.slow, f"all pairs only after {seconds:.1f} s")
    return f"10 pairs after {seconds:.1f} s"
