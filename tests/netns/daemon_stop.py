# SPDX-License-Identifier: MIT
"""The daemon stands still (kill -STOP) for 10 s, in long form 60 s as well: the path is back within 5 s after kill -CONT,
and the timers it missed do not all fire.

    h1 (public), h2 -- r2 (port NAT) -- inet -- server
"""

import signal
import time

from capture import Capture
from govpn import group
from lab import check
from process import cpu_s

LONG_TIME_LIMIT_S = 180
LIMIT_S = 5
BURST_PKTS = 150  # in the first second; a connect sends about 40


def stand_still(lab, a, b, addresses, seconds):
    pid = b.process.pid
    b.process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        a.reaches(addresses[b], 0.5)
    capture = Capture(b.node, "eth0")
    used = cpu_s(pid)
    b.process.send_signal(signal.SIGCONT)
    start = time.monotonic()
    time.sleep(1)  # the window of what is counted
    capture.stop()
    sent = sum(d.source[0].startswith("192.168.") for d in capture.datagrams())
    used = cpu_s(pid) - used
    a.wait_reaches(addresses[b], 30)
    b.wait_reaches(addresses[a], 30)
    back = time.monotonic() - start
    check(back < LIMIT_S * lab.slow, f"after {seconds} s of standing still the path came back after {back:.1f} s")
    check(sent < BURST_PKTS, f"{sent} datagrams in the first second after {seconds} s")
    check(used < 0.7 * lab.slow, f"{used:.2f} s of processor time in the first second after {seconds} s")
    return f"{seconds} s: back after at most {back:.1f} s, {sent} datagrams in the first second"


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    before = b.network()
    notes = [stand_still(lab, a, b, addresses, seconds) for seconds in ((10, 60) if lab.long else (10,))]
    check(b.network()["interface"] == before["interface"], "another interface")
    return "; ".join(notes)
