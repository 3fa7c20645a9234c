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
# Beside a flood the neighbours' wait depends on who else uses this machine; the figure is in the note.
JOIN_LIMIT_MS = 3000


def flood(lab, strangers, server, parts):
    """Returns (figures of the probe, growth in kB)."""
    load.run(strangers, server, "probe", 1)  # what grows once has grown
    before = load.resident_kb(server.process)
    probe = load.start(strangers, server, "probe", 200 if lab.long else 5)
    for kind, count in parts:
        sent = load.run(strangers, server, kind, count, 1)
        check(sent["sent"] >= count, f"{kind}: {sent}")
    if lab.long:
        probe.terminate()
        probe.communicate()
        after = load.run(strangers, server, "probe", 5)
    else:
        after = load.finish(probe)
    grown = load.resident_kb(server.process) - before
    check(server.process.poll() is None, "the server ended")
    check(grown <= GROWTH_KB or lab.slow > 1, f"the server grew by {grown} kB")
    check(server.health() == "OK\n", "the server does not answer")
    return after, grown


def scenario(lab):
    plain = Server(lab, tls="off", port=8443).start()
    strangers = load.strangers(lab)
    times = 50 if lab.long else 1
    found, grown = flood(lab, strangers, plain, [("frames", 20000 * times), ("heads", 1000 * times)])
    check(plain.stop() == 0, "the server did not end well")
    secure = Server(lab, port=8444, node=lab.server).start()
    found_tls, grown_tls = flood(lab, strangers, secure,
                                 [("garbage", 500 * times), ("heads", 500 * times), ("frames", 1000 * times)])
    check(secure.stop() == 0, "the server with TLS did not end well")
    for probe in (found, found_tls):
        check(probe["failed"] == 0, f"a neighbour was refused: {probe}")
        check(probe["join_p99_ms"] <= JOIN_LIMIT_MS * lab.slow, f"a neighbour waited: {probe}")
    return (f"{22000 * times} malformed without TLS: {grown} kB more, others join in p99 {found['join_p99_ms']:.0f} ms; "
            f"{2000 * times} with TLS: {grown_tls} kB more, p99 {found_tls['join_p99_ms']:.0f} ms")
