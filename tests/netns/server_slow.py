# SPDX-License-Identifier: MIT
"""Connections that send a byte now and then, in TLS, head and frame, or nothing, and do not read: cut after 10 s, while others
join as ever.

    strangers (100.64.0.0/16) -- inet -- server
"""

import load
from govpn import Server
from lab import check

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 180
CUT_S = 10


def scenario(lab):
    server = Server(lab).start()
    strangers = load.strangers(lab)
    quiet = load.run(strangers, server, "probe", 2)
    count = 5000 if lab.long else 400
    # Opening them takes time as well, above all where TLS is shaken.
    seconds = 70 if lab.long else 14
    slow = load.start(strangers, server, "slow", count, seconds)
    others = load.run(strangers, server, "probe", seconds - 2)
    found = load.finish(slow)
    check(found["opened"] == count and found["left"] == 0, f"slow connections were not cut: {found}")
    # Before it comes the time of the TLS handshakes, of which a login has one.
    limit_s = (CUT_S + 3) * lab.slow + count * quiet["login_p50_ms"] / 1000
    check(found["cut_max_s"] <= limit_s, f"cut late, after {limit_s:.1f} s: {found}")
    check(others["failed"] == 0, f"others were refused: {others}")
    limit_ms = (200 + 20 * quiet["join_p99_ms"]) * lab.slow
    check(others["join_p99_ms"] <= limit_ms, f"others waited: {others}, without these {quiet}")
    return (f"{count} cut after {found['cut_p50_s']:.1f} s, at most {found['cut_max_s']:.1f} s; others logged in within "
            f"{others['login_p99_ms']:.0f} ms and joined within {others['join_p99_ms']:.0f} ms (p99; at most "
            f"{others['join_max_ms']:.0f} ms)")
