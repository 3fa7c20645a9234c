# SPDX-License-Identifier: MIT
"""Plan 3.2: what a channel delivers is written to the TUN, unchanged, if its source is the peer's address.

    h1 (port NAT), h2 (public), h3 (public) -- inet -- server
"""

import os
import random
import socket
import struct

from govpn import group
from lab import check


def udp(computer, address, port=0):
    with computer.node:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.bind((address, port))
    s.settimeout(3)
    return s


def exact_content(a, b, addresses):
    """Datagrams of all kinds of sizes arrive with their content and their source."""
    receiver, sender = udp(b, addresses[b], 5000), udp(a, addresses[a], 5001)
    sizes = [0, 1, 2, 1351, 1352, 1353] + [random.Random(1).randrange(3000) for _ in range(300)]
    for size in sizes:
        payload = os.urandom(size)
        sender.sendto(payload, (addresses[b], 5000))
        got, source = receiver.recvfrom(65536)
        check(got == payload and source == (addresses[a], 5001), f"{size} bytes arrived as {len(got)} from {source}")
    return len(sizes)


def spoof(computer, source, target):
    """Sends 50 UDP datagrams with a source address of our choice into the tunnel."""
    with computer.node:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    udp_part = struct.pack("!HHHH", 5001, 5000, 8 + 4, 0) + b"evil"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    for _ in range(50):
        raw.sendto(head + udp_part, (target, 0))


def dropped(computer, address):
    """All packets that this computer dropped: told to the peer, and told to nobody."""
    told = computer.peers()[address]["dropped"], computer.network()["dropped"]
    return sum(n or 0 for counters in told for n in counters.values())


def scenario(lab):
    _, (a, b, c), addresses = group(lab, ["port", "open", "open"])
    number = exact_content(a, b, addresses)

    receiver = udp(b, addresses[b], 5000)
    receiver.settimeout(0.5)
    before = dropped(b, addresses[a]) + dropped(a, addresses[b])
    for source in (addresses[c], addresses[b], "127.0.0.1", "203.0.113.10", "224.0.0.1"):
        spoof(a, source, addresses[b])
    try:
        got = receiver.recvfrom(100)
    except TimeoutError:
        got = None
    check(got is None, f"a packet with a false source was delivered: {got}")
    counted = lambda: dropped(b, addresses[a]) + dropped(a, addresses[b]) - before
    lab.wait(lambda: counted() >= 50, 3, "drops for false sources are counted")
    check(a.reaches(addresses[b]), "the path did not survive")
    return f"{number} datagrams unchanged, {counted()} false sources dropped"
