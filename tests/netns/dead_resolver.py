# SPDX-License-Identifier: MIT
"""A resolver that never answers does not stall the daemon: its socket answers, its tunnel goes on.

    h1 (public, resolver in a black hole), h2 (public) -- inet -- server
"""

import socket
import threading
import time

from govpn import NO_SERVER, Computer, Pinger, Server, wait_mesh
from lab import RUN, check

TIME_LIMIT_S = 90
GAP_S = 0.05
LOOKUPS = 3  # at most: this program may be held up, but hardly in each; a resolver that blocks does so in each
HANGS_S = 2  # the look-up: less would say that the resolver was not asked
ALONE = True


def ask(connection):
    """Seconds until the daemon answers a request on its socket."""
    start = time.monotonic()
    connection.sendall(b'{"verb":"list"}\n')
    answer = b""
    while not answer.endswith(b"\n"):
        answer += connection.recv(65536)
    return time.monotonic() - start


def look_up(a):
    """Makes the daemon ask the dead resolver; returns how long it took and how long each request on its socket did."""
    results = []
    thread = threading.Thread(target=lambda: results.append(
        a.run("create", "other", "--server", "https://signal.example:8443", "--insecure", timeout_s=60)))
    gaps = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(a.socket)
        start = time.monotonic()
        thread.start()
        while thread.is_alive():
            gaps.append(ask(connection))
            thread.join(0.002)
    hung_s = time.monotonic() - start
    check(results[0].code == NO_SERVER, f"exit code {NO_SERVER} expected: {results[0]}")
    check(hung_s >= HANGS_S, f"the look-up failed after {hung_s:.2f} s already: nothing hung")
    return hung_s, gaps


def scenario(lab):
    with open(f"{RUN}/resolv.conf", "w", encoding="ascii") as f:
        f.write("nameserver 203.0.113.250\noptions timeout:3 attempts:2\n")
    dead = ("unshare", "--mount", "sh", "-c", f'mount --bind {RUN}/resolv.conf /etc/resolv.conf && exec "$@"', "sh")
    server = Server(lab).start()
    a = Computer(lab, lab.home("open"), wrap=dead).start()
    b = Computer(lab, lab.home("open")).start()
    b.join(a.create("party", server)["invite"])
    addresses = wait_mesh(lab, [a, b])
    ping = Pinger(a.node, addresses[b])
    worst = []
    while len(worst) < LOOKUPS and (not worst or min(worst) >= GAP_S * lab.slow):
        hung_s, gaps = look_up(a)
        worst.append(max(gaps))
    lost, sent = ping.stop()
    silent = ", ".join(f"{s * 1000:.0f}" for s in worst)
    check(min(worst) < GAP_S * lab.slow, f"the daemon was silent for {silent} ms in {len(worst)} look-ups")
    check(lost == 0, f"{lost} of {sent} pings lost")
    return f"a look-up of {hung_s:.1f} s: longest gap {silent} ms in {len(gaps)} requests, 0 of {sent} pings lost"
