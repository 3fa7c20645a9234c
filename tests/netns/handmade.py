# SPDX-License-Identifier: MIT
"""Flows made by hand, with what could tempt somebody to join, reorder or change packets. And how they get into a TUN as they are."""

import random
import socket
import struct
import time

from packets import AUTH, FRAGMENT, ICMP, ICMPV6, TCP, UDP, checksum, ip4, ip6, tcp, transport_checksum, udp

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
DF, MORE = 0x4000, 0x2000
HOP_BY_HOP, ROUTING, DESTINATION, NONE = 0, 43, 60, 59
STAMPS = b"\x01\x01\x08\x0a"
BURST, PAUSE_S = 40, 0.002


class Hands:
    """All flows go from one computer to another; every flow has ports of its own."""

    def __init__(self, source4, target4, source6, target6, seed=1):
        self.pairs = {4: (source4, target4), 6: (source6, target6)}
        self.random = random.Random(seed)
        self.port = 20000

    def bytes(self, size):
        return self.random.randbytes(size)

    def ip(self, version, payload, proto, **more):
        source, target = self.pairs[version]
        return ip4(source, target, payload, proto=proto, **more) if version == 4 else ip6(source, target, payload, proto, **more)

    def ports(self):
        self.port += 1
        return {"sport": self.port, "dport": 9}

    # --- TCP ---

    def segments(self, count, size, version=4, change=lambda i, fields: None, each=lambda i: {}):
        """Segments that follow each other; change() alters the fields of one, each() its IP header."""
        at, ports, packets = self.random.randrange(1 << 32), self.ports(), []
        for i in range(count):
            fields = {"seq": at, "ack": 77, "flags": ACK, "data": self.bytes(size), "options": STAMPS + struct.pack("!II", 5, 6)}
            change(i, fields)
            at += len(fields["data"])
            packets.append(self.ip(version, tcp(*self.pairs[version], **fields, **ports), TCP,
                                   **{**({"ident": 100 + i} if version == 4 else {}), **each(i)}))
        return packets

    def tcp_flows(self):
        def at(place, **values):
            return lambda i, fields: fields.update(values) if i == place else None

        def stamps(i, fields):
            fields["options"] = STAMPS + struct.pack("!II", 5 + i // 3, 6)

        def options(i, fields):
            fields["options"] = b"\1" * (4 * (i % 11))

        for version in (4, 6):
            yield self.segments(8, 1300, version)
            for flags in (ACK | PSH, ACK | FIN, ACK | URG, ACK | ECE, ACK | CWR, ACK | RST, ACK | SYN, 0, 0xFF):
                yield self.segments(6, 500, version, at(2, flags=flags, urgent=3))
            yield self.segments(6, 500, version, at(3, window=501))
            yield self.segments(6, 500, version, at(3, ack=78))
            yield self.segments(6, 500, version, at(3, data=self.bytes(200)))
            yield self.segments(6, 500, version, at(3, data=b""))
            yield self.segments(9, 600, version, stamps)
            yield self.segments(22, 100, version, options)
            yield self.segments(200, 1, version)
            for order in (lambda p: p[::-1], lambda p: p[:3] + p[1:], lambda p: p[:4] + p[5:] + p[4:5], lambda p: [p[0]] * 4):
                yield order(self.segments(8, 700, version))
            bad = self.segments(6, 700, version)
            bad[3] = bad[3][:-1] + bytes([bad[3][-1] ^ 1])
            yield bad
            field, values = ("tos", (0, 1, 2, 3, 0xB8)) if version == 4 else ("traffic_class", (0, 1, 2, 3, 0xB8))
            yield self.segments(20, 900, version, each=lambda i: {field: values[i // 4]})
            hops = "ttl" if version == 4 else "hops"
            yield self.segments(6, 900, version, each=lambda i: {hops: 64 - (i == 3)})
            yield self.syn(version, 536)
            yield self.syn(version, 1460)
        yield self.segments(6, 900, 6, each=lambda i: {"label": 7 + (i == 3)})
        yield from self.id_flows(lambda each: self.segments(6, 800, each=each))

    def syn(self, version, mss):
        yield self.ip(version, tcp(*self.pairs[version], b"", flags=SYN, options=struct.pack("!BBHBBBB", 2, 4, mss, 1, 3, 3, 7),
                                   **self.ports()), TCP)

    def id_flows(self, make):
        """Ids that count up, stand, jump, with DF and without."""
        draw = [self.random.randrange(1 << 16) for _ in range(8)]
        for frag in (DF, 0):
            for ident in (lambda i: 65534 + i, lambda i: 0, lambda i: 9, lambda i: draw[i], lambda i: 5 + i + (i > 2), lambda i: 50 - i,
                          lambda i: 5 + i // 2):
                yield make(lambda i, ident=ident, frag=frag: {"ident": ident(i) & 0xFFFF, "frag": frag})

    # --- UDP ---

    def datagrams(self, sizes, version=4, each=lambda i: {}):
        ports = self.ports()
        return [self.ip(version, udp(*self.pairs[version], self.bytes(n), **ports), UDP, **each(i)) for i, n in enumerate(sizes)]

    def udp_flows(self):
        for version in (4, 6):
            yield self.datagrams([1000] * 8, version)
            yield self.datagrams([32] * 100, version)
            yield self.datagrams([900, 900, 300, 300, 900, 0, 900, 900], version)
        yield from self.id_flows(lambda each: self.datagrams([700] * 6, each=each))
        source, target = self.pairs[4]
        ports = self.ports()
        for change in (lambda p: p[:6] + b"\0\0" + p[8:], lambda p: p[:6] + b"\x12\x34" + p[8:], lambda p: p[:4] + b"\0\x0c" + p[6:],
                       lambda p: p[:4] + b"\0\0" + p[6:], lambda p: p[:4] + b"\xff\xff" + p[6:]):
            whole = [udp(source, target, self.bytes(400), **ports) for _ in range(6)]
            yield [self.ip(4, p if i % 3 != 1 else change(p), UDP) for i, p in enumerate(whole)]
            yield [self.ip(4, change(p), UDP) for p in whole]

    # --- everything else ---

    def fragments(self, version, size, ident, part=512):
        """One datagram in fragments, the last ones in reversed order."""
        whole = udp(*self.pairs[version], self.bytes(size), **self.ports())
        pieces = [(i, whole[i:i + part]) for i in range(0, len(whole), part)]

        def piece(at, data):
            more = at + len(data) < len(whole)
            if version == 4:
                return self.ip(4, data, UDP, ident=ident, frag=(MORE if more else 0) | at // 8)
            return self.ip(6, struct.pack("!BBHI", UDP, 0, at | more, ident) + data, FRAGMENT)
        made = [piece(*p) for p in pieces]
        return made[:1] + made[:0:-1]

    def odd_flows(self):
        source, target = self.pairs[4]
        yield [p for n in range(5) for p in self.fragments(4, 2000, n)]
        yield [p for n in range(5) for p in self.fragments(6, 2000, n)]
        for options in (b"\1\1\1\0", b"\x44\x0c\x05\x00" + bytes(8), b"\x07\x0b\x04" + bytes(8) + b"\0", b"\x94\x04\0\0"):
            ports = self.ports()
            mixed = [self.ip(4, udp(source, target, self.bytes(300), **ports), UDP, options=options if i % 3 == 1 else b"")
                     for i in range(7)]
            yield mixed
        for head in (bytes([UDP, 0, 1, 4, 0, 0, 0, 0]), bytes([UDP, 1, 1, 12]) + bytes(12)):
            for kind in (HOP_BY_HOP, DESTINATION):
                ports = self.ports()
                yield [self.ip(6, head + udp(*self.pairs[6], self.bytes(300), **ports), kind) if i % 3 == 1 else
                       self.ip(6, udp(*self.pairs[6], self.bytes(300), **ports), UDP) for i in range(7)]
        yield [self.ip(6, bytes([UDP, 2, 0, 0]) + bytes(20) + udp(*self.pairs[6], b"at its end"), ROUTING)]
        yield [self.ip(6, bytes([UDP, 4, 0, 0]) + bytes(20) + udp(*self.pairs[6], b"signed"), AUTH)]
        yield [self.ip(6, b"", NONE), self.ip(6, b"more", NONE)]
        for proto in (2, 4, 41, 47, 50, 51, 89, 103, 132, 136, 253, 255):
            yield [self.ip(4, self.bytes(n), proto, ttl=1 + n % 255, tos=n % 256, ident=n) for n in (0, 1, 7, 100, 100, 100, 1360)]
            yield [self.ip(6, self.bytes(n), 253, hops=1 + n % 255, traffic_class=n % 256, label=n) for n in (0, 1, 100, 100, 1340)]
        for kind, version in ((8, 4), (13, 4), (42, 4), (128, 6), (200, 6)):
            yield [self.icmp(version, kind, n) for n in (0, 1, 56, 56, 56, 1300)]

    def icmp(self, version, kind, size):
        body = struct.pack("!BBHHH", kind, 0, 0, 7, size) + self.bytes(size)
        total = checksum(body) if version == 4 else transport_checksum(*self.pairs[6], ICMPV6, body)
        return self.ip(version, body[:2] + struct.pack("!H", total) + body[4:], ICMP if version == 4 else ICMPV6)

    def of_size(self, size):
        """Packets of this many bytes, of every kind that can have so few."""
        fields = {"ttl": 1 + size % 255, "tos": size & 0xFF, "ident": size}
        packets = [self.ip(4, self.bytes(size - 20), 253, **fields)]
        if size >= 28:
            packets.append(self.ip(4, udp(*self.pairs[4], self.bytes(size - 28), sport=5000, dport=9), UDP, **fields))
        if size >= 40:
            packets.append(self.ip(4, tcp(*self.pairs[4], self.bytes(size - 40), seq=size, sport=5001, dport=9), TCP, **fields))
            packets.append(self.ip(6, self.bytes(size - 40), 253, hops=1 + size % 255, traffic_class=size & 0xFF, label=size))
        if size >= 48:
            packets.append(self.ip(6, udp(*self.pairs[6], self.bytes(size - 48), sport=5002, dport=9), UDP))
        return packets

    def mixed(self):
        """All flows at once, each in its order."""
        flows = [list(f) for flow in (self.tcp_flows, self.udp_flows, self.odd_flows) for f in flow()]
        turns = [i for i, f in enumerate(flows) for _ in f]
        self.random.shuffle(turns)
        # Half of the time a flow goes on, so that there are runs to be joined.
        packets = []
        for i in turns:
            for _ in range(self.random.choice((1, 8))):
                if flows[i]:
                    packets.append(flows[i].pop(0))
        return packets


class Injector:
    """Puts packets into a TUN just as they are, as if the system had sent them."""

    def __init__(self, node, dev):
        with node:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.bind((dev, 0))
            self.dev = dev

    def send(self, packets):
        """In bursts, with pauses, so that the queue of the TUN is long enough."""
        for i, packet in enumerate(packets):
            kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
            while True:
                try:
                    self.socket.sendto(packet, (self.dev, kind))
                    break
                except OSError:  # ENOBUFS
                    time.sleep(PAUSE_S)
            if i % BURST == BURST - 1:
                time.sleep(PAUSE_S)

    def close(self):
        self.socket.close()
