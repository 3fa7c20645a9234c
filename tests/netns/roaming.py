# SPDX-License-Identifier: MIT
"""A computer moves: another address, another router, from IPv4 to a network with IPv6 only, and its router forgets every
mapping (4 moves; long: 50). A TCP connection through the tunnel lives on, and packets pass again within 3 s (6 s when only the router has another address, which nobody inside sees).

    h1 (public), h2 -- r2 (port NAT), r3 (cone NAT), r4 (IPv6 only) -- inet -- server at 203.0.113.10 and 2001:db8::10
"""

import socket
import time

from govpn import group
from lab import check

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 900
LIMIT_S, OUTSIDE_LIMIT_S = 3, 6


class Echo:
    """A TCP connection from one computer to another; ask() says whether a word comes back."""

    def __init__(self, server, address, client):
        with server.node:
            listener = socket.socket()
        listener.bind(("", 7100))
        listener.listen(1)
        with client.node:
            self.here = socket.socket()
        self.here.settimeout(20)
        self.here.connect((address, 7100))
        self.there = listener.accept()[0]
        self.there.settimeout(20)
        self.count = 0

    def ask(self):
        self.count += 1
        word = b"%08d" % self.count
        self.here.sendall(word)
        check(self.there.recv(8, socket.MSG_WAITALL) == word, "the connection lost or mixed up bytes")
        self.there.sendall(word)
        check(self.here.recv(8, socket.MSG_WAITALL) == word, "the connection lost or mixed up bytes")


class Roamer:
    def __init__(self, lab, node):
        self.lab, self.node, self.number = lab, node, 50
        self.cone, self.v6 = (lab.home(kind).router for kind in ("cone", "v6"))
        self.plug = 0

    def _move(self, router):
        """The cable goes from one router to another."""
        node = self.node
        dev = node.uplink()
        node.ip(f"link del {dev}")
        node.far.clear()
        self.lab.routes[node.name] = []
        node.router = router
        self.plug += 1
        self.lab.plug(node, router, f"eth{self.plug}")

    def new_address(self):
        self.number = 50 + (self.number + 1) % 100
        self.lab.new_lan_address(self.node, self.number)

    def other_router(self):
        self._move(self.cone)

    def to_ipv6(self):
        self._move(self.v6)

    def rebind(self):
        self.number = 50 + (self.number + 1) % 100
        self.lab.new_public_address(self.node.router, 100 + self.number)

    def moves(self):
        return (self.new_address, self.other_router, self.rebind, self.to_ipv6)


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    roamer, echo, times = Roamer(lab, b.node), Echo(a, addresses[a], b), []
    echo.ask()
    home = b.node.router
    a.settled_path(addresses[b])  # a change while the path is being nominated costs 3 s more: `agents_select_another_path...` in the unit tests
    for i in range(50 if lab.long else 4):
        move = roamer.moves()[i % 4]
        if i and i % 4 == 0:
            roamer._move(home)
        move()
        start = time.monotonic()
        a.wait_reaches(addresses[b], 30)
        b.wait_reaches(addresses[a], 30)
        times.append((time.monotonic() - start, move.__name__))
        echo.ask()
    worst = max(times)
    slow = [f"move {i}: {t:.1f} s ({what})" for i, (t, what) in enumerate(times)
            if t >= (OUTSIDE_LIMIT_S if what == "rebind" else LIMIT_S) * lab.slow]
    check(not slow, "back after " + ", ".join(slow))
    return f"{len(times)} moves, the connection lived; back after {worst[0]:.1f} s at worst ({worst[1]})"
