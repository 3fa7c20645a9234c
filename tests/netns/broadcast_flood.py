# SPDX-License-Identifier: MIT
"""A flood of broadcasts is limited and counted, and does not stop what goes to one peer.

    h1, h2, h3 (public) -- inet -- server
"""

import ipaddress
import socket
import time

from govpn import group
from lab import check

FLOOD = 20000


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
    before = a.node.run("ping", "-n", "-q", "-c", "3", "-i", "0.2", addresses[b]).stdout
    start = time.monotonic()
    for _ in range(FLOOD):
        sender.sendto(b"x" * 100, (target, 6000))
    seconds = time.monotonic() - start
    check(" 3 received" in before and a.reaches(addresses[b]), "the flood stopped other packets")
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

    check(0 < got < FLOOD / 2, f"{got} of {FLOOD} came through")
    lab.wait(lambda: counted() >= FLOOD / 2, 3, f"the limit is counted ({counted()})")
    return f"{got} of {FLOOD} in {seconds:.1f} s came through"
