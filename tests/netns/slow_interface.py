# SPDX-License-Identifier: MIT
"""A file is copied over an interface that is slower than we are, and a game goes on beside it.

    h1 (public, 50 Mbit/s in front of a long queue) -- inet -- h2 (public)

What was given to the interface stands in one row there, so little may be given; what waits is told apart by flow.
"""

import json
import re

from govpn import group, percentile
from lab import check

TIME_LIMIT_S = 90
ALONE = True
RATE_MBIT = 50
SECONDS = 8


def pings_under_load(lab, a, b, address, *options):
    """Median and 99th percentile of pings in ms while one TCP stream runs, and the stream's Mbit/s and loss of pings."""
    server = b.start("iperf3", "-s", "-1", "-B", address, log="iperf3")
    lab.wait(lambda: f"{address}:5201" in b.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
    stream = a.start("iperf3", "-J", "-c", address, "-t", SECONDS, *options, log="stream")
    count = int((SECONDS - 2) / 0.02)
    out = a.run("ping", "-n", "-i", "0.02", "-w", SECONDS - 1, "-c", count, address, check_code=False).stdout
    stream.wait(SECONDS + 20)
    server.wait(20)
    with open(lab.logs["stream"], encoding="utf-8") as f:
        text = f.read()
    bps = json.loads(text[text.rindex('\n{') if '\n{' in text else text.index("{"):])["end"]["sum_received"]["bits_per_second"]
    times = [float(t) for t in re.findall(r"time=([\d.]+)", out)]
    lost = float(re.search(r"([\d.]+)% packet loss", out)[1])
    return percentile(times, 50), percentile(times, 99), bps / 1e6, lost


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    a.node.run("tc", "qdisc", "add", "dev", a.node.uplink(), "root", "tbf", "rate", f"{RATE_MBIT}mbit", "burst", "32kb",
               "latency", "400ms")
    lines = []
    for control in ("cubic", "bbr"):
        median, p99, mbit, lost = pings_under_load(lab, a.node, b.node, addresses[b], "-C", control)
        lines.append(f"{control} {mbit:.0f} Mbit/s, ping {median:.1f} ms, p99 {p99:.1f} ms")
        check(mbit > 0.8 * RATE_MBIT, f"{control}: only {mbit:.1f} Mbit/s")
        check(p99 < 60, f"{control}: pings wait: median {median:.1f} ms, p99 {p99:.1f} ms")
        check(lost < 1, f"{control}: {lost} % of pings lost")
    dropped = a.peers()[addresses[b]]["dropped"]
    check(dropped.get("tx_queue", 0) > 0, f"cubic was never told: {dropped}")
    return "; ".join(lines)
