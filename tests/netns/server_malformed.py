# SPDX-License-Identifier: MIT
"""Malformed frames, messages, HTTP heads and bytes that are no TLS, from thousands of addresses: the server lives, stays small
and goes on serving others.

    strangers (100.64.0.0/16), neighbour (public) -- inet -- server with TLS, server without
"""

import load
from govpn import Server
from lab import check

TIME_LIMIT_S = 120
LONG_TIME_LIMIT_S = 1800
GROWTH_KB = 20 << 10
# Beside a flood neighbours wait so long at most, and longer on a machine where they do without one.
JOIN_LIMIT_MS = 200
QUIET_TIMES = 20


def flood(lab, strangers, server, parts, times):
    """Returns (the worst figures of neighbours meanwhile, growth in kB)."""
    quiet = load.run(strangers, server, "probe", 2)  # what grows once has grown
    before, worst = load.resident_kb(server.process), {"join_p99_ms": 0, "login_p99_ms": 0}
    for seed in range(times):
        probe = load.start(strangers, server, "probe", 5)
        for kind, count in parts:
            sent = load.run(strangers, server, kind, count, seed)
            check(sent["sent"] >= count, f"{kind}: {sent}")
        found = load.finish(probe)
        check(found["failed"] == 0, f"a neighbour was refused: {found}")
        worst = max(worst, found, key=lambda f: f["join_p99_ms"])
    grown = load.resident_kb(server.process) - before
    check(server.process.poll() is None, "the server ended")
    check(grown <= GROWTH_KB or lab.slow > 1, f"the server grew by {grown} kB")
    check(server.health() == "OK\n", "the server does not answer")
    limit_ms = (JOIN_LIMIT_MS + QUIET_TIMES * quiet["join_p99_ms"]) * lab.slow
    check(worst["join_p99_ms"] <= limit_ms, f"a neighbour waited: {worst}, without a flood {quiet}")
    return worst, grown


def scenario(lab):
    plain = Server(lab, tls="off", port=8443).start()
    strangers = load.strangers(lab)
    times = 50 if lab.long else 1
    found, grown = flood(lab, strangers, plain, [("frames", 20000), ("heads", 1000)], times)
    check(plain.stop() == 0, "the server did not end well")
    secure = Server(lab, port=8444, node=lab.server).start()
    parts = [("garbage", 500), ("heads", 1000), ("frames", 1000)]
    found_tls, grown_tls = flood(lab, strangers, secure, parts, times)
    check(secure.stop() == 0, "the server with TLS did not end well")
    return (f"{21000 * times} malformed without TLS: {grown} kB more, others join in p99 {found['join_p99_ms']:.0f} ms; "
            f"{2500 * times} with TLS: {grown_tls} kB more, p99 {found_tls['join_p99_ms']:.0f} ms")
