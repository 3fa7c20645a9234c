# SPDX-License-Identifier: MIT
"""Nobody says anything for 15 s (long: 120 s): what a daemon with three peers costs in processor time, wake-ups and datagrams.

    h1 (public), h2 -- r2 (port NAT), h3, h4 (public) -- inet -- server
"""

import os
import time

from capture import Capture
from govpn import group
from lab import check
from process import cpu_s

LONG_TIME_LIMIT_S = 180
PEERS = 3
CPU_SHARE, WAKEUPS_PER_PEER_S, DATAGRAMS_PER_PEER_15S = 0.005, 2.5, 15


def wakeups(pid):
    """Times that a thread gave up the processor by itself."""
    count = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as f:
            count += next(int(line.split()[1]) for line in f if line.startswith("voluntary"))
    return count


def scenario(lab):
    _, (_, b, *_), _ = group(lab, ["open", "port", "open", "open"])
    pid, seconds = b.process.pid, 120 if lab.long else 15
    time.sleep(3)  # the last checks of the connect
    capture = Capture(b.node, "eth0")
    used, woken, start = cpu_s(pid), wakeups(pid), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    used, woken = (cpu_s(pid) - used) / took, (wakeups(pid) - woken) / took / PEERS
    capture.stop()
    datagrams = len(capture.datagrams()) / took * 15 / PEERS
    note = f"{used:.2%} of a core, {woken:.1f} wake-ups a second and {datagrams:.1f} datagrams in 15 s for each peer"
    check(used <= CPU_SHARE * lab.slow and woken <= WAKEUPS_PER_PEER_S * lab.slow, note)
    check(datagrams <= DATAGRAMS_PER_PEER_15S, note)
    return note
