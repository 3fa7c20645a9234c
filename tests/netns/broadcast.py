# SPDX-License-Identifier: MIT
"""Broadcast and multicast reach programs on the two other computers; the sender's default route is elsewhere.

    h1 (port NAT), h2 (public), h3 (cone NAT) -- inet -- server
"""

import ipaddress
import socket

from govpn import group
from lab import check

GROUP, PORT = "239.1.2.3", 6000


def receiver(computer, address):
    with computer.node:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", PORT))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(address))
    s.settimeout(3)
    return s


def sender(computer):
    with computer.node:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return s


def scenario(lab):
    _, (a, b, c), addresses = group(lab, ["port", "open", "cone"])
    subnet = ipaddress.ip_network(a.network()["subnet"])
    receivers = {one: receiver(one, addresses[one]) for one in (b, c)}
    for target in ("255.255.255.255", str(subnet.broadcast_address), GROUP):
        out = sender(a)  # not bound to any address or interface
        if target == GROUP:
            out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(addresses[a]))
        text = f"hello {target}".encode()
        out.sendto(text, (target, PORT))
        for one, s in receivers.items():
            try:
                got, source = s.recvfrom(100)
            except TimeoutError:
                check(False, f"{one.name} did not get the packet to {target}")
            check(got == text and source[0] == addresses[a], f"{one.name} got {got} from {source} for {target}")

    # Switched off, 255.255.255.255 goes where the default route goes.
    a.ok("set", "broadcast", a.network()["id"], "off")
    sender(a).sendto(b"off", ("255.255.255.255", PORT))
    receivers[b].settimeout(0.5)
    try:
        check(False, f"still delivered: {receivers[b].recvfrom(100)}")
    except TimeoutError:
        pass
    return "255.255.255.255, subnet broadcast, multicast"
