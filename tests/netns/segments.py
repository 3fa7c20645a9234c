# SPDX-License-Identifier: MIT
"""Packets as they would stand on a wire, out of what a capture saw, and the comparison of two captures.

A capture with virtio headers (capture.Capture) sees super-packets that nobody has cut yet, and checksums of which only
the pseudo header is summed. on_wire() cuts and sums them as RFC 9293, 768, 791 and 8200 want it, and virtio 1.2 5.1.6 says
which; nothing here is the product's.
"""

import ipaddress
import struct

from capture import VNET_HDR
from packets import AUTH, FRAGMENT, ICMP, ICMPV6, TCP, UDP

NEEDS_CSUM, GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP_L4, GSO_ECN = 1, 0, 1, 4, 5, 0x80
FIN, SYN, PSH, CWR = 0x01, 0x02, 0x08, 0x80
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
DF = 0x4000


def sum16(data, start=0):
    """The one's complement sum of RFC 1071: 2**16 is 1 modulo 65,535, so the number itself is the sum of its words."""
    n = int.from_bytes(data, "big") << (8 * (len(data) % 2))
    return ((n + start - 1) % 65535 + 1) if n + start else 0


def is_4(packet):
    return packet[0] >> 4 == 4


def addresses(packet):
    """Source and destination, packed, side by side."""
    return packet[12:20] if is_4(packet) else packet[8:40]


def is_fragment(packet):
    if is_4(packet):
        return struct.unpack_from("!H", packet, 6)[0] & 0x3FFF != 0
    return transport(packet)[2]


def transport(packet):
    """(protocol, where its header begins, whether the packet is a fragment)"""
    if is_4(packet):
        return packet[9], (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 6)[0] & 0x3FFF != 0
    kind, at, fragment = packet[6], 40, False
    while kind in (HOP_BY_HOP, ROUTING, AUTH, DESTINATION, FRAGMENT) and len(packet) - at >= 8 and not fragment:
        size = {FRAGMENT: 8, AUTH: (packet[at + 1] + 2) * 4}.get(kind, (packet[at + 1] + 1) * 8)
        fragment = kind == FRAGMENT and struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF9 != 0
        kind, at = packet[at], at + size
    return kind, at, fragment


def flow(packet):
    """What a flow is: addresses, protocol and ports; all fragments between two computers are one."""
    kind, at, fragment = transport(packet)
    ports = b"" if fragment or kind not in (TCP, UDP) else packet[at:at + 4]
    return addresses(packet), kind, fragment, bytes(ports)


def pseudo_sum(packet, kind, size):
    return sum16(addresses(packet), kind + (size >> 16) + (size & 0xFFFF))


def is_intact(packet):
    """All checksums that can be verified are right."""
    kind, at, fragment = transport(packet)
    if is_4(packet) and sum16(packet[:(packet[0] & 15) * 4]) != 0xFFFF:
        return False
    if fragment or kind not in (TCP, UDP, ICMP, ICMPV6) or (kind == UDP and packet[at + 6:at + 8] == b"\0\0"):
        return True
    start = 0 if kind == ICMP else pseudo_sum(packet, kind, len(packet) - at)
    return sum16(packet[at:], start) == 0xFFFF


def put16(packet, at, value):
    struct.pack_into("!H", packet, at, value)


def sum_header4(packet):
    put16(packet, 10, 0)
    put16(packet, 10, ~sum16(packet[:(packet[0] & 15) * 4]) & 0xFFFF)


def on_wire(frame):
    """The packets of one captured frame of a TUN interface."""
    flags, kind, _, size, start, offset = struct.unpack_from("=BBHHHH", frame)
    packet = frame[VNET_HDR:]
    if kind & ~GSO_ECN == GSO_NONE:
        if not flags & NEEDS_CSUM:
            return [packet]
        packet = bytearray(packet)  # the field holds the sum of the pseudo header
        put16(packet, start + offset, ~sum16(packet[start:]) & 0xFFFF or 0xFFFF)
        return [bytes(packet)]
    protocol, at, _ = transport(packet)
    head = at + (8 if protocol == UDP else (packet[at + 12] >> 4) * 4)
    whole = range(head, len(packet), size)
    return [cut(packet, protocol, at, head, i, begin, packet[begin:begin + size], i + 1 == len(whole))
            for i, begin in enumerate(whole)]


def cut(packet, protocol, at, head, i, begin, payload, last):
    """The i-th segment, whose payload stood at `begin`."""
    out = bytearray(packet[:head]) + payload
    if is_4(packet):
        put16(out, 2, len(out))
        put16(out, 4, (struct.unpack_from("!H", packet, 4)[0] + i) & 0xFFFF)
        sum_header4(out)
    else:
        put16(out, 4, len(out) - 40)
    if protocol == TCP:
        struct.pack_into("!I", out, at + 4, (struct.unpack_from("!I", packet, at + 4)[0] + begin - head) & 0xFFFFFFFF)
        out[at + 13] &= 0xFF & ~((CWR if i > 0 else 0) | (0 if last else FIN | PSH))
    else:
        put16(out, at + 4, len(out) - at)
    field = at + (16 if protocol == TCP else 6)
    put16(out, field, 0)
    total = ~sum16(out[at:], pseudo_sum(out, protocol, len(out) - at)) & 0xFFFF
    put16(out, field, total or (0xFFFF if protocol == UDP else 0))
    return bytes(out)


def with_mss(packet, mtu):
    """The packet with the MSS option that a path of this MTU allows (RFC 9293 3.7.1), if it is a SYN with a larger one."""
    protocol, at, fragment = transport(packet)
    if protocol != TCP or fragment or len(packet) < at + 20 or not packet[at + 13] & SYN:
        return packet
    most, i, end = mtu - (40 if is_4(packet) else 60), at + 20, at + (packet[at + 12] >> 4) * 4
    while i < end and packet[i] != 0:
        if packet[i] == 2 and struct.unpack_from("!H", packet, i + 2)[0] > most:
            out = bytearray(packet)
            put16(out, i + 2, most)
            put16(out, at + 16, 0)
            put16(out, at + 16, ~sum16(out[at:], pseudo_sum(out, TCP, len(out) - at)) & 0xFFFF)
            return bytes(out)
        i += 1 if packet[i] == 1 else packet[i + 1]
    return packet


class Delivered:
    """One packet that came out, its number in its super-packet, and the first of that."""

    def __init__(self, packet, number, first):
        self.packet, self.number, self.first = packet, number, first


class Comparison:
    """What went into one TUN against what came out of the other, in one direction.

    mtu: of the path, for the one thing that the tunnel changes: the MSS option of SYNs.
    """

    def __init__(self, sent, got, mtu):
        self.mtu = mtu
        self.sent = self.delivered = 0
        self.lost_frames = set()
        self.ids = self.mss = 0  # packets that differ in nothing but that
        flows = {}
        for number, frame in enumerate(sent):
            for packet in on_wire(frame):
                flows.setdefault(flow(packet), ([], []))[0].append((packet, number))
                self.sent += 1
        for frame in got:
            packets = on_wire(frame)
            for i, packet in enumerate(packets):
                flows.setdefault(flow(packet), ([], []))[1].append(Delivered(packet, i, packets[0]))
                self.delivered += 1
        self.flows = len(flows)
        self.wrong = [text for pair in flows.values() for text in self._match(*pair)]

    def _match(self, sent, got):
        """In a flow what was delivered is what was sent, in its order; some may be missing."""
        at = 0
        for number, one in enumerate(got):
            begin = at
            while at < len(sent) and not self._same(sent[at][0], one):
                at += 1
            if at == len(sent):
                yield self._explain(sent, begin, number, one)
                return
            self.lost_frames.update(frame for _, frame in sent[begin:at])
            at += 1
        self.lost_frames.update(frame for _, frame in sent[at:])

    def _same(self, packet, one):
        if packet == one.packet:
            return True
        if len(packet) != len(one.packet):
            return False
        clamped = with_mss(packet, self.mtu)
        if clamped == one.packet and clamped != packet:
            self.mss += 1
            return True
        # RFC 6864 4.1: with DF and not a fragment the id says nothing. All that were joined had the same one.
        if not is_4(packet) or one.number == 0 or struct.unpack_from("!H", packet, 6)[0] != DF or packet[4:6] != one.first[4:6]:
            return False
        other = bytearray(packet)
        put16(other, 4, (struct.unpack_from("!H", packet, 4)[0] + one.number) & 0xFFFF)
        sum_header4(other)
        self.ids += bytes(other) == one.packet
        return bytes(other) == one.packet

    @staticmethod
    def _explain(sent, begin, number, one):
        before = [i for i, (packet, _) in enumerate(sent) if packet == one.packet]
        what = f"was sent as number {before} and comes after what came behind {begin - 1}" if before else "was not sent so"
        best = max((packet for packet, _ in sent), default=b"",
                   key=lambda p: sum(x == y for x, y in zip(p, one.packet)) - abs(len(p) - len(one.packet)))
        differs = [i for i, (x, y) in enumerate(zip(best, one.packet)) if x != y]
        return (f"packet {number} of its flow, {one.packet[:80].hex()}, {len(one.packet)} bytes, number {one.number} of its write, "
                f"{what}; the nearest is {best[:80].hex()}, {len(best)} bytes, other at {differs[:20]}")


def of(frames, *sources):
    """Those frames that come from one of these addresses."""
    wanted = [ipaddress.ip_address(s).packed for s in sources]
    return [f for f in frames if addresses(f[VNET_HDR:])[:4 if is_4(f[VNET_HDR:]) else 16] in wanted]
