# SPDX-License-Identifier: MIT
"""The wall clock of one computer jumps by an hour and by ten years, both ways, while a tunnel is up and at the start: no
packet is lost, the daemon starts and connects. It joins new networks with a late clock; with an early one it is told so.

    h1 (public), h2 -- r2 (port NAT), h3 (public) -- inet -- server
"""

import time

from govpn import FAILED, OK, Computer, Pinger, group, wait_mesh
from lab import RUN, check
from process import WallClock

HOUR, YEAR = 3600, 365 * 86400
JUMPS = (HOUR, -HOUR, 10 * YEAR, -10 * YEAR, 0)


def said_time(computer):
    with open(f"{RUN}/{computer.name}-govpnd.log", encoding="utf-8", errors="replace") as f:
        return f.readlines()[-1][:4]


def scenario(lab):
    server, (a, b), addresses = group(lab, ["open", "port"])
    clock = WallClock(f"{RUN}/clock")
    b.stop()
    b.wrap = clock.wrap()
    b.start()
    b.wait_reaches(addresses[a])
    a.wait_reaches(addresses[b])
    pings = Pinger(a.node, addresses[b], 0.02)
    years = set()
    for jump in JUMPS:
        clock.set(jump)
        b.ok("list")  # makes a line in the log
        years.add(said_time(b))
        until = time.monotonic() + 0.5
        lab.wait(lambda: time.monotonic() > until and b.reaches(addresses[a]), 3, f"a ping with the clock at {jump:+d} s")
    lost, sent = pings.stop()
    check(len(years) >= 3, f"the clock did not jump: the log has the years {years}")
    check(lost == 0, f"{lost} of {sent} packets lost while the clock jumped")

    # A server that was away makes a new login necessary, with the wrong clock.
    invite = a.ok("invite", a.network()["id"]).json()["invite"]
    for i, jump in enumerate(JUMPS[:4]):
        clock.set(jump)
        b.kill9()
        b.start()
        b.wait_reaches(addresses[a], 15)
        newcomer = Computer(lab, lab.home("open"), name=f"new{i}", wrap=clock.wrap()).start()
        joined = newcomer.run("join", invite)
        if jump > 0:  # what it signs would be from the future
            check(joined.code == FAILED and "clock" in joined.json()["message"], f"clock at {jump:+d} s: {joined}")
            clock.set(0)
            joined = newcomer.run("join", invite)
        check(joined.code == OK, f"clock at {jump:+d} s: {joined}")
        wait_mesh(lab, [a, newcomer])
        newcomer.stop()
    server.kill9()
    server.start()
    lab.wait(lambda: b.network()["server"]["connected"], 40, "logged in again with a wrong clock")
    return f"0 of {sent} packets lost in {len(JUMPS)} jumps"
