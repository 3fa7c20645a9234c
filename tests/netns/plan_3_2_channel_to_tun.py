# SPDX-License-Identifier: MIT
"""Plan 3.2: what a channel delivers is written to the TUN, unchanged, if its source is the peer's address.

    h1 (port NAT), h2 (public), h3 (public, lies about its address) -- inet -- server
"""

import os
import random
import socket
import struct

from govpn import Computer, Server, wait_mesh
from lab import check
from packets import datagram
from rogue import Rogue, dropped


SPOOFED = 50


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
    """Sends SPOOFED UDP datagrams with a source address of our choice into the tunnel."""
    with computer.node:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    udp_part = struct.pack("!HHHH", 5001, 5000, 8 + 4, 0) + b"evil"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    for _ in range(SPOOFED):
        raw.sendto(head + udp_part, (target, 0))


def scenario(lab):
    server = Server(lab).start()
    a, b = (Computer(lab, lab.home(kind)).start() for kind in ("port", "open"))
    liar = Rogue(lab, lab.public("h3", 150)).start()
    invite = a.create("party", server)["invite"]
    for one in (b, liar):
        one.join(invite)
    addresses = wait_mesh(lab, [a, b, liar])
    number = exact_content(a, b, addresses)

    receiver = udp(b, addresses[b], 5000)
    receiver.settimeout(0.5)
    strangers = (addresses[b], "127.0.0.1", "203.0.113.10", "224.0.0.1")
    not_sent = lambda: a.network()["dropped"].get("tx_bad", 0)
    refused = lambda: dropped(b, addresses[liar]).get("rx_source", 0)
    for source in (addresses[liar], *strangers):
        before = not_sent()
        spoof(a, source, addresses[b])
        lab.wait(lambda: not_sent() >= before + SPOOFED, 3, f"{a.name} does not send what comes from {source}")
    for source in (addresses[a], *strangers):
        before = refused()
        liar.send("inner", addresses[b], [datagram(source, addresses[b], b"evil")], count=SPOOFED)
        lab.wait(lambda: refused() >= before + SPOOFED, 3, f"{b.name} refuses what comes from {source}")
    try:
        got = receiver.recvfrom(100)
    except TimeoutError:
        got = None
    check(got is None, f"a packet with a false source was delivered: {got}")
    check(not_sent() == refused() == 5 * SPOOFED, f"{not_sent()} not sent, {refused()} refused, of 5 times {SPOOFED}")
    check(a.reaches(addresses[b]) and liar.reaches(addresses[b]), "the paths did not survive")
    return f"{number} datagrams unchanged; {not_sent()} with a false source not sent, {refused()} of a liar refused"
