# SPDX-License-Identifier: MIT
"""A real member with a rewritten client sends inner packets that it must not: none comes out, each is counted.

    h1 (public, forwards, has a LAN 172.30.0.0/24 behind it), h2 (public, the rogue), h3 (public) -- inet -- server

h1 and h2 are members of two networks, h3 of the first only.
"""

import ipaddress
import struct
import time

from capture import Capture
from govpn import Computer, Pinger, Server, wait_mesh
from lab import Failure, check
from numbered import BAD, Seen, good
from packets import FRAGMENT, ICMP, datagram, ip4, ip6, udp
from process import rss_kb
from rogue import OWN_TSN, Rogue, data_chunk, dropped

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 300


def spoofed(me, rogue, third, me6):
    """[(name, packet)]: sources that are not the rogue's. me, rogue, third: addresses of the first network."""
    packets = [(f"IPv4 from {s}", datagram(s, me, BAD)) for s in (
        third, me, "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "169.254.1.1", "203.0.113.10", "10.255.255.254")]
    packets += [(f"IPv6 from {s}", datagram(s, me6, BAD)) for s in (
        me6, "::1", "::", "ff02::1", "fe80::1", f"::ffff:{rogue}", f"::ffff:{me}", f"::{rogue}", "2001:db8::10", "fd00::1")]
    return packets


def foreign(a, me_other, subnet):
    """Packets with the right source for somebody else."""
    targets = ["172.30.0.2", "172.30.0.1", "203.0.113.10", "8.8.8.8", "127.0.0.1", "0.0.0.0", me_other, "240.0.0.1",
               str(subnet.network_address), str(subnet.broadcast_address - 1)]
    packets = [(f"to {t}", datagram(a.rogue_ip, t, BAD)) for t in targets]
    return packets + [(f"to {t}", datagram(a.rogue_ip6, t, BAD)) for t in
                      ("::1", "fe80::1", "2001:db8::10", f"::ffff:{a.me_ip}", f"::ffff:172.30.0.2")]


def malformed(a):
    """Inner packets that are inconsistent."""
    me, rogue, me6, rogue6 = a.me_ip, a.rogue_ip, a.me_ip6, a.rogue_ip6
    good, good6 = datagram(rogue, me, BAD * 4), datagram(rogue6, me6, BAD * 4)
    packets = [(f"IPv4 cut at {n}", good[:n]) for n in range(1, 40)] + [(f"IPv6 cut at {n}", good6[:n]) for n in range(1, 60)]
    payload = udp(rogue, me, BAD)
    packets += [(f"IPv4 length {n}", ip4(rogue, me, payload, length=n)) for n in (0, 1, 19, 20, 38, 40, 1000, 65535)]
    packets += [(f"IHL {n}", ip4(rogue, me, payload, ihl=n)) for n in (0, 1, 2, 3, 4, 10, 11, 15)]
    packets += [(f"version {v}", bytes([v << 4 | 5]) + good[1:]) for v in (0, 1, 2, 3, 5, 7, 8, 15)]
    packets += [(f"IPv6 length {n}", ip6(rogue6, me6, udp(rogue6, me6, BAD), length=n)) for n in (0, 1, 18, 20, 65535)]
    jumbo = bytes([17, 0, 0xC2, 4]) + struct.pack("!I", 100000)
    packets.append(("jumbo", ip6(rogue6, me6, jumbo + udp(rogue6, me6, BAD), next_header=0, length=0)))
    pad = lambda after: bytes([after, 0, 1, 4, 0, 0, 0, 0])
    packets.append(("100 extension headers", ip6(rogue6, me6, pad(60) * 99 + pad(17) + udp(rogue6, me6, BAD), next_header=60)))
    packets.append(("extension longer than the packet", ip6(rogue6, me6, bytes([17, 255]) + bytes(6) + BAD, next_header=60)))
    packets.append(("extension cut", ip6(rogue6, me6, bytes([17, 0, 1]), next_header=60)))
    route = lambda kind: bytes([kind, 7, 4]) + bytes([8, 8, 8, 8, 1])
    packets += [("loose source route", ip4(rogue, me, payload, options=route(131))),
                ("strict source route", ip4(rogue, me, payload, options=route(137)))]
    packets.append(("routing header", ip6(rogue6, me6, bytes([17, 2, 0, 1]) + bytes(20) + udp(rogue6, me6, BAD), next_header=43)))
    return packets


def fragments(a):
    """Consistent packets that try the receiver's own IP: they may come out, but nothing may break."""
    me, rogue, me6, rogue6 = a.me_ip, a.rogue_ip, a.me_ip6, a.rogue_ip6
    whole = udp(rogue, me, BAD * 4)
    packets = [ip4(rogue, me, whole[:8], frag=0x2000, ident=7), ip4(rogue, me, whole[8:], frag=1, ident=7),
               ip4(rogue, me, whole[:24], frag=0x2000, ident=8), ip4(rogue, me, whole[8:], frag=1, ident=8),
               ip4(rogue, me, whole[:8], frag=0x3FFF, ident=9), ip4(rogue, me, b"", frag=0x2000, ident=10),
               ip4(rogue, me, bytes(8), frag=0x3FFF, proto=ICMP, ident=11), ip4(rogue, me, b"\x08\0" + bytes(6), proto=ICMP)]
    for offset, more in ((0, 1), (8, 0), (0, 1), (16, 1), (65528, 0)):
        head = bytes([17, 0]) + struct.pack("!HI", offset | more, 5)
        packets.append(ip6(rogue6, me6, head + bytes(16), next_header=FRAGMENT))
    return packets


def mixed(bad, correct, total):
    """`total` bad packets in turn, with the correct ones spread among them."""
    every = total // len(correct)
    for i in range(total):
        yield bad[i % len(bad)]
        if i % every == every - 1 and i // every < len(correct):
            yield correct[i // every]


class Attack:
    """The rogue against one peer in one network, and what that peer counts."""

    def __init__(self, lab, me, rogue, net_id):
        self.lab, self.me, self.rogue, self.net_id = lab, me, rogue, net_id
        self.me_ip, self.rogue_ip = me.ipv4(net_id), rogue.ipv4(net_id)
        self.me_ip6, self.rogue_ip6 = me.network(net_id)["ipv6"], rogue.network(net_id)["ipv6"]

    def dropped(self):
        return dropped(self.me, self.rogue_ip, self.net_id)

    def counts(self, before, name, number):
        """The counter rises by `number`, and by no more."""
        self.lab.wait(lambda: self.dropped()[name] - before[name] >= number, 10, f"{name} rises by {number}")
        check(self.dropped()[name] - before[name] == number, f"{name} from {before} to {self.dropped()}")

    def refuses(self, packets, name):
        """Each of the (name, packet) is counted in this counter, once."""
        before = self.dropped()
        self.rogue.send("inner", self.me_ip, [p for _, p in packets], rate=2000)
        try:
            self.counts(before, name, len(packets))
        except Failure as failure:
            raise Failure(f"{failure}; not counted alone: {self.alone(packets, name)}") from None
        return len(packets)

    def alone(self, packets, name):
        """Which of them are not counted."""
        found = []
        for what, packet in packets:
            before = self.dropped()[name]
            self.rogue.send("inner", self.me_ip, [packet])
            time.sleep(0.2)
            if self.dropped()[name] != before + 1:
                found.append(what)
        return found

    def flood(self, bad, total, number):
        """`total` spoofed at 10,000/s with `number` correct ones between them: the figures of the promise."""
        seen, before = Seen(self.me), self.dropped()
        start = time.monotonic()
        sent = self.rogue.send("inner", self.me_ip, list(mixed(bad, good(number, self.rogue_ip, self.me_ip), total)))
        seconds = time.monotonic() - start
        check(sent == total + number, f"{sent} sent")
        self.counts(before, "rx_source", total)
        wrong, numbers = seen.end()
        check(not wrong, f"{len(wrong)} spoofed packets came out of the tunnel")
        check(len(numbers) == number and set(numbers.values()) == {1}, f"{len(numbers)} of {number} correct ones arrived")
        return round(sent / seconds)

    def large(self):
        """Messages of 65,535 bytes in fragments: no packet is as long as it says."""
        def message(payload):
            parts = [payload[i:i + 1300] for i in range(0, len(payload), 1300)]
            return [(data_chunk(2, p, flags=4 | 2 * (i == 0) | (i == len(parts) - 1)), OWN_TSN)
                    for i, p in enumerate(parts)]

        inside = datagram(self.rogue_ip, self.me_ip, BAD)
        before = self.dropped()
        self.rogue.send("chunks", self.me_ip, message(inside + bytes(65535 - len(inside))) + message(bytes(65535)))
        self.counts(before, "rx_bad", 2)

    def empty(self):
        """A DATA chunk without data breaks the protocol (RFC 9260 6.2): it ends this association, and a new one comes."""
        self.rogue.send("chunks", self.me_ip, [(data_chunk(2, b""), OWN_TSN)])
        self.lab.wait(lambda: self.dropped()["rx_sctp"] > 0, 5, "the empty chunk is counted")
        self.rogue.wait_reaches(self.me_ip)


def lan_behind(lab, computer):
    """A LAN that the computer would forward into."""
    node = lab.node("lan")
    lab.veth(computer.node, "lan0", node, "eth0")
    computer.node.ip("addr add 172.30.0.1/24 dev lan0")
    node.ip("addr add 172.30.0.2/24 dev eth0", "route add default via 172.30.0.1")
    for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        computer.node.sysctl(f"net/{family}", 1)


def scenario(lab):
    server = Server(lab).start()
    me, third = (Computer(lab, lab.home("open", name=name), name).start() for name in ("h1", "h3"))
    rogue = Rogue(lab, lab.public("h2", 150)).start()
    lan_behind(lab, me)
    nets = [me.create(name, server) for name in ("work", "games")]
    for net in nets:
        rogue.join(net["invite"])
    third.join(nets[0]["invite"])
    ids = [net["id"] for net in nets]
    addresses = wait_mesh(lab, [me, rogue, third], net_id=ids[0])
    wait_mesh(lab, [me, rogue], net_id=ids[1])
    first, second = (Attack(lab, me, rogue, i) for i in ids)
    subnet = ipaddress.ip_network(me.network(ids[0])["subnet"])

    before_kib, pinger = rss_kb(me.process.pid), Pinger(third.node, addresses[me], 0.05)
    leaving = [Capture(me.node, dev, lambda f: BAD in f) for dev in ("eth0", "lan0")]
    seen = Seen(me)
    sources = spoofed(first.me_ip, first.rogue_ip, addresses[third], first.me_ip6)
    other = [("of the other network", datagram(second.rogue_ip, second.me_ip, BAD)),
             ("from the other network", datagram(second.rogue_ip, first.me_ip, BAD))]
    kinds = first.refuses(sources + other, "rx_source")
    kinds += first.refuses(foreign(first, second.me_ip, subnet), "rx_dest")
    kinds += first.refuses(malformed(first), "rx_bad")
    first.large()
    wrong, _ = seen.end()
    check(not wrong, f"{len(wrong)} packets came out of the tunnel, the first {wrong[:1]}")
    first.rogue.send("inner", first.me_ip, fragments(first), rate=1000, count=10000 if lab.long else 1000)
    total = 100000 if lab.long else 10000
    rate = first.flood([p for _, p in sources], total, total // 100)
    for capture in leaving:
        check(capture.stop() == 0 and capture.count > 0, "a capture on a card of h1 does not work")
        check(not capture.frames, f"{len(capture.frames)} packets left the receiver")
    lost, sent = pinger.stop()
    check(lost == 0, f"the third member lost {lost} of {sent} pings")
    grown = rss_kb(me.process.pid) - before_kib
    check(grown <= 16 << 10, f"memory grew by {grown} KiB")
    check(me.process.poll() is None and rogue.reaches(first.me_ip), "the tunnel did not survive")
    first.empty()
    return (f"{kinds} kinds refused; {total} spoofed at {rate}/s: 0 delivered, all counted, {total // 100} of "
            f"{total // 100} correct ones arrived; memory +{grown} KiB; third member {lost} of {sent} pings lost")
