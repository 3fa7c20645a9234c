# SPDX-License-Identifier: MIT
"""The computers' uptime passes 2^31 ms (24.9 days) and 2^32 ms (49.7 days) while they talk: nothing is lost, and timers go
on: a new path is found afterwards.

    h1 (public; passes 2^31 ms), h2 -- r2 (port NAT; passes 2^32 ms) -- inet -- server
"""

import time

from govpn import Pinger, group
from lab import check

AHEAD_S = 7  # from the start of the daemon to the moment


def at_uptime(seconds):
    """What stands before a command that shall find a system that is up for so long."""
    with open("/proc/uptime", encoding="ascii") as f:
        more = int(seconds - float(f.read().split()[0]))
    # Older kernels let no process start threads that changed its own clocks: a child of it.
    return ("unshare", "--fork", "--kill-child", "--time", "--monotonic", more, "--boottime", more, "--")


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    for one, moment in ((a, 2**31 / 1000), (b, 2**32 / 1000)):
        one.stop()
        one.wrap = at_uptime(moment - AHEAD_S)
        one.start()
        with open(f"/proc/{one.process.pid}/task/{one.process.pid}/children", encoding="ascii") as f:
            daemon = int(f.read())
        with open(f"/proc/{daemon}/timens_offsets", encoding="ascii") as f:
            check(int(f.read().split()[4]) > 0, "the clock that counts from the start of the system is as it was")
    started = time.monotonic()
    a.wait_reaches(addresses[b], 15)
    b.wait_reaches(addresses[a], 15)
    check(time.monotonic() - started < AHEAD_S, "the tunnel was too late for the moment")
    pings = Pinger(a.node, addresses[b], 0.02)
    lab.wait(lambda: time.monotonic() - started > AHEAD_S + 3, AHEAD_S + 4, "the moment passes")
    lost, sent = pings.stop()
    check(lost == 0, f"{lost} of {sent} packets lost")
    lab.new_lan_address(b.node, 50)
    a.wait_reaches(addresses[b], 10)
    b.wait_reaches(addresses[a], 10)
    return f"0 of {sent} packets lost"
