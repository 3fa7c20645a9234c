# SPDX-License-Identifier: MIT
"""10,000 computers that are logged in and idle: what they cost, and how they come back after the server was killed.

    strangers (100.64.0.0/16) -- inet -- server
"""

import time

import load
from govpn import Server
from lab import check

SOAK = True
TIME_LIMIT_S = 600
COUNT = 10000
IDLE_S = 60
MEMORY_KB = 400 << 10


def scenario(lab):
    notes = []
    strangers = load.strangers(lab)
    for tls in ("off", "self-made"):
        server = Server(lab, tls=tls).start()
        computers = load.start(strangers, server, "hold", COUNT)
        first = load.line(computers)
        check(server.stats()["computers"]["connected"] == COUNT, "not all are logged in")
        memory = load.resident_kb(server.process)
        begin, start = load.cpu_s(server.process), time.monotonic()
        time.sleep(IDLE_S)
        idle = (load.cpu_s(server.process) - begin) / (time.monotonic() - start)
        check(server.stats()["computers"]["connected"] == COUNT, "idle computers were cut")
        probe = load.run(strangers, server, "probe", 10)
        check(memory <= MEMORY_KB, f"{memory} kB for {COUNT} connections")
        check(idle <= 0.05, f"{idle:.1%} of a core while idle")
        check(probe["failed"] == 0 and probe["join_p99_ms"] <= 500, f"joining beside them: {probe}")
        server.kill9()
        start = time.monotonic()
        computers.stdin.write("wait\n")
        computers.stdin.flush()
        server.start()
        load.line(computers)
        back = time.monotonic() - start
        check(back <= 60, f"all were back after {back:.0f} s")
        computers.stdin.close()
        computers.wait()
        check(server.stop() == 0, "the server did not end well")
        notes.append(f"{'without' if tls == 'off' else 'with'} TLS: {memory >> 10} MB, {idle:.1%} idle, join p99 "
                     f"{probe['join_p99_ms']:.0f} ms, logins in {first['seconds']:.0f} s, back after {back:.0f} s")
    return "; ".join(notes)
