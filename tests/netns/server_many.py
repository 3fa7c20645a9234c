# SPDX-License-Identifier: MIT
"""10,000 computers that are logged in and idle: what they cost, and how they come back after the server was killed.

    strangers (100.64.0.0/16) -- inet -- server
"""

import json
import time

import load
from govpn import Server
from lab import check

SOAK = True
TIME_LIMIT_S = 600
COUNT = 10000
IDLE_S = 60
MEMORY_KB = 400 << 10
BACK_S = 60


def connected(server):
    """How many are logged in; 0 when nobody answers soon, as in the middle of a storm."""
    text = server.get("/stats")
    return json.loads(text)["computers"]["connected"] if text else 0


def scenario(lab, tls="off"):
    strangers = load.strangers(lab)
    server = Server(lab, tls=tls).start()
    computers = load.start(strangers, server, "hold", COUNT)
    first = load.line(computers)
    check(connected(server) == COUNT, "not all are logged in")
    memory = load.resident_kb(server.process)
    begin, start = load.cpu_s(server.process), time.monotonic()
    time.sleep(IDLE_S)
    idle = (load.cpu_s(server.process) - begin) / (time.monotonic() - start)
    check(connected(server) == COUNT, "idle computers were cut")
    probe = load.run(strangers, server, "probe", 10)
    check(memory <= MEMORY_KB, f"{memory} kB for {COUNT} connections")
    check(idle <= 0.05, f"{idle:.1%} of a core while idle")
    check(probe["failed"] == 0 and probe["join_p99_ms"] <= 500, f"joining beside them: {probe}")
    note = (f"{memory >> 10} MB, {idle:.1%} idle, join p99 {probe['join_p99_ms']:.0f} ms, "
            f"logins in {first['seconds']:.0f} s")
    server.kill9()
    start = time.monotonic()
    server.start()
    lab.wait(lambda: connected(server) == COUNT, BACK_S, f"all are back ({note})", pause_s=0.5)
    back, busy = time.monotonic() - start, load.cpu_s(server.process)
    computers.stdin.close()
    computers.wait()
    check(server.stop() == 0, "the server did not end well")
    return f"{note}, back after {back:.0f} s and {busy:.1f} s of a processor"
