# SPDX-License-Identifier: MIT
"""Spoofed ClientHellos, one each millisecond from 50 addresses, while a member connects: it always does, and soon.

    flood (in inet) -> h2 (public, the DTLS server);  h1 (public, comes and goes) -- inet

One of the 50 is the address and port of h1 itself.
"""

import time

from attacker import Connects, flood_command, write_items
from govpn import Computer, Server, percentile, wait_mesh
from lab import RUN, check
from outsider_flood import client_hello

ALONE = True
TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 600

ADDED_MS = 100


def scenario(lab):
    server = Server(lab).start()
    me, other = (Computer(lab, lab.public(f"h{n}", 100 + n, ipv6=False), options=("--udp-port", "7000")).start()
                 for n in (1, 2))
    other_net = other.create("party", server)
    me.join(other_net["invite"])
    address = wait_mesh(lab, [me, other])[other]
    connects, number = Connects(lab, me, address), 200 if lab.long else 20  # of fewer the 95th percentile is the largest
    path = f"{RUN}/hello-items"
    write_items(path, [client_hello() for _ in range(200)])
    quiet, loud = [], []
    for _ in range(number // 10):
        quiet += [connects.one() for _ in range(10)]
        command = flood_command(other.node, path, 1000, 10**6, sources=("203.0.113.101", 50), port=7000)
        flood = lab.inet.start(*command, log="flood")
        time.sleep(0.2)
        loud += [connects.one() for _ in range(10)]
        check(flood.poll() is None, "the flood ended too soon")
        flood.kill()
        flood.wait()
    added = max(percentile(loud, p) - percentile(quiet, p) for p in (50, 95))
    figures = (f"{number} of {number} connected under the flood: median {percentile(loud, 50)} ms, p95 {percentile(loud, 95)}; "
               f"without {percentile(quiet, 50)}, p95 {percentile(quiet, 95)}")
    print(sorted(loud), sorted(quiet))
    check(added <= ADDED_MS, figures)
    return figures
