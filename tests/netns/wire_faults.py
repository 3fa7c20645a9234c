# SPDX-License-Identifier: MIT
"""Delay, jitter with reordering, duplicates and damaged packets: what arrives arrives once and whole.

    h1 == wire (20 ms +- 10 ms, 2 % twice, 1 % damaged) == r1 (port NAT) -- inet -- server;  h2 (public) -- inet
"""

import os
import socket

from govpn import group
from lab import check

NUMBER = 1000


def scenario(lab):
    _, (a, b), addresses = group(lab, ["port", "open"])
    a.node.wire("delay=20", "jitter=10", "dup=2", "corrupt=1")
    a.wait_reaches(addresses[b], 20)
    with b.node:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind((addresses[b], 6000))
    receiver.settimeout(1)
    with a.node:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = {}
    got = []

    def drain(wait_s):
        receiver.settimeout(wait_s)
        try:
            while True:
                got.append(receiver.recv(2000))
        except TimeoutError:
            pass

    for i in range(NUMBER):
        sent[i] = i.to_bytes(4, "big") + os.urandom(500)
        sender.sendto(sent[i], (addresses[b], 6000))
        if i % 20 == 0:
            drain(0.005)
    drain(1)
    check(all(sent.get(int.from_bytes(g[:4], "big")) == g for g in got), "a datagram arrived damaged")
    check(len(set(got)) == len(got), f"{len(got) - len(set(got))} datagrams arrived twice")
    check(len(got) > NUMBER * 0.95, f"only {len(got)} of {NUMBER} arrived")
    return f"{len(got)} of {NUMBER} arrived, each once"
