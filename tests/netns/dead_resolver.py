# SPDX-License-Identifier: MIT
"""A resolver that never answers does not stall the daemon: its socket answers, its tunnel goes on.

    h1 (public, resolver in a black hole), h2 (public) -- inet -- server
"""

import socket
import threading
import time

from govpn import NO_SERVER, Computer, Pinger, Server, wait_mesh
from lab import RUN, check

GAP_S = 0.05
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
    results = []
    thread = threading.Thread(target=lambda: results.append(
        a.run("create", "other", "--server", "https://signal.example:8443", "--insecure", timeout_s=60)))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(a.socket)
    gaps = []
    start = time.monotonic()
    thread.start()
    while thread.is_alive():
        gaps.append(ask(connection))
        thread.join(0.002)
    hung_s = time.monotonic() - start
    lost, sent = ping.stop()
    check(results[0].code == NO_SERVER, f"exit code {NO_SERVER} expected: {results[0]}")
    check(hung_s >= HANGS_S, f"the look-up failed after {hung_s:.2f} s already: nothing hung")
    worst = max(gaps)
    check(worst < GAP_S * lab.slow, f"the daemon was silent for {worst * 1000:.0f} ms")
    check(lost == 0, f"{lost} of {sent} pings lost")
    return f"a look-up of {hung_s:.1f} s: longest gap {worst * 1000:.0f} ms in {len(gaps)} requests, 0 of {sent} pings lost"
