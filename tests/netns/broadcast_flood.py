# SPDX-License-Identifier: MIT
"""A flood of broadcasts is limited and counted, and does not stop what goes to one peer.

    h1, h2, h3 (public) -- inet -- server
"""

import ipaddress
import socket
import time

from govpn import Pinger, group
from lab import check

FLOOD, FLOOD_S, LIMIT_S = 20000, 1, 10  # at least, at least, at most
PINGS = 50  # at least
LOST = 0.35  # of the pings to one peer meanwhile: both wait in the same queue of the TUN, which overflows


def scenario(lab):
    _, (a, b, c), addresses = group(lab, ["open", "open", "open"])
    target = str(ipaddress.ip_network(a.network()["subnet"]).broadcast_address)
    with b.node:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    receiver.bind(("", 6000))
    receiver.settimeout(1)
    with a.node:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    ping = Pinger(a.node, addresses[b])
    lab.wait(ping.answered, 3, "pings are answered")
    before, start, sent = ping.answered(), time.monotonic(), 0
    while sent < FLOOD or time.monotonic() < start + FLOOD_S or ping.answered() < before + PINGS:
        for _ in range(1000):
            sender.sendto(b"x" * 100, (target, 6000))
        sent += 1000
        check(time.monotonic() < start + LIMIT_S, f"{ping.answered() - before} pings to one peer answered in {LIMIT_S} s of the flood")
    seconds = time.monotonic() - start
    lost, pings = ping.stop()
    check(lost <= LOST * pings, f"{lost} of {pings} pings to one peer were lost in the flood")
    got = 0
    try:
        while True:
            receiver.recv(200)
            got += 1
    except TimeoutError:
        pass

    def counted():
        drops = [d for one in (a, b) for d in (one.network()["dropped"], *(p["dropped"] for p in one.peers().values()))]
        return sum(n or 0 for d in drops for key, n in d.items() if "broadcast" in key)

    # What found no room in the TUN's queue never came to the daemon.
    came = sent - a.node.tx_dropped(a.network()["interface"])
    check(0 < got < came / 2, f"{got} of {came} of {sent} came through")
    lab.wait(lambda: counted() >= 0.9 * came - got, 3, f"the limit is counted ({counted()} of {came})")
    return f"{got} of {sent} in {seconds:.1f} s came through; {lost} of {pings} pings to one peer lost"
