# SPDX-License-Identifier: MIT
"""The lab itself: a wire delays, loses and doubles as told, and what it does not harm passes whole.

    h1 == wire == inet -- server
"""

import re

from lab import check


def ping(node, count=100):
    return node.run("ping", "-n", "-q", "-i", "0.01", "-c", count, "203.0.113.10", check_code=False).stdout


def scenario(lab):
    node = lab.home("port")
    node.wire("delay=30")
    lab.wait_ping(node, "203.0.113.10", 5)
    rtt = float(re.search(r"= ([\d.]+)/", ping(node))[1])  # the least: machines pause
    check(60 <= rtt < 65, f"{rtt} ms where 60 were asked for")
    other = lab.home("open")
    other.wire("loss=20", "dup=10")
    lab.wait_ping(other, "203.0.113.10", 5)
    out = ping(other, 500)
    lost = float(re.search(r"([\d.]+)% packet loss", out)[1])
    check(25 < lost < 46 and "duplicates" in out, out)
    return f"{rtt} ms, {lost} % of pings lost at 20 % each way"
