# SPDX-License-Identifier: MIT
"""What comes out of one TUN is what went into the other, bit by bit and in the order of each flow, with every offload and without.

    h1 (public, IPv4 only), h2 (the same) -- inet -- server

Flows made by hand and by the kernel, packets of every size, and a flood pass in both directions, while both TUNs are captured.
Then the same with the daemons' offloads limited, with trains cut on the wire, with loss, and over a path of 1,280 bytes.

Two things may differ: the MSS option of a SYN (RFC 9293 3.7.1), and the id of IPv4 packets with DF that all had the same one
(RFC 6864 4.1: it says nothing). Both are counted.
"""

import random
import socket
import struct
import threading
import time

from balance import Balance
from capture import GSO_UDP_L4, VNET_HDR, Capture
from govpn import Computer, Server, wait_mesh
from handmade import Hands, Injector
from lab import check
from packets import ICMP, ICMPV6
from segments import GSO_NONE, NEEDS_CSUM, Comparison, is_4, of, on_wire, transport
from streams import Stream

TIME_LIMIT_S = 150
LONG_TIME_LIMIT_S = 900
MTU, SMALL_MTU = 1380, 1160
SOL_UDP, UDP_SEGMENT, SO_NO_CHECK = 17, 103, 11
PORT = 6000

# Name of a round: (environment of h1's daemon, that of h2's); None: as usual.
NONE = ("GOVPN_TUN_OFFLOAD=none", "GOVPN_UDP_OFFLOAD=none", "GOVPN_AEAD=evp")
SHORT = {
    "default": ((), ()),
    "nothing": (NONE, NONE),
    "mixed": (("GOVPN_TUN_OFFLOAD=csum", "GOVPN_UDP_OFFLOAD=gso"), ("GOVPN_TUN_OFFLOAD=tso", "GOVPN_UDP_OFFLOAD=gro")),
}
LONG = SHORT | {value: ((value,), (value,)) for value in (
    "GOVPN_TUN_OFFLOAD=none", "GOVPN_TUN_OFFLOAD=csum", "GOVPN_TUN_OFFLOAD=tso", "GOVPN_UDP_OFFLOAD=none",
    "GOVPN_UDP_OFFLOAD=gso", "GOVPN_UDP_OFFLOAD=gro", "GOVPN_AEAD=evp")} | {"one side": (NONE, ())}


class Outside:
    """Counts what passes an outer interface, whole trains and datagrams."""

    def __init__(self, node, dev):
        self.trains = self.frames = self.datagrams = 0
        self.capture = Capture(node, dev, keep=self._count)

    def _count(self, frame):
        _, kind, _, size = struct.unpack_from("=BBHH", frame)
        payload = len(frame) - VNET_HDR - 14 - 28
        if payload < 60:  # ARP and the like
            return False
        self.frames += 1
        self.trains += kind == GSO_UDP_L4
        self.datagrams += -(-payload // size) if kind == GSO_UDP_L4 else 1
        return False

    def stop(self):
        self.capture.stop()


class Rig:
    def __init__(self, lab):
        self.lab = lab
        self.server = Server(lab).start()
        # Over IPv6 outside the largest packet is 1,376 bytes, so that not all sizes could pass.
        self.both = [Computer(lab, lab.public(f"h{n}", 100 + n, ipv6=False)).start() for n in (1, 2)]
        self.both[1].join(self.both[0].create("party", self.server)["invite"])
        addresses = wait_mesh(lab, self.both)
        self.four = [addresses[c] for c in self.both]
        self.six = [c.network()["ipv6"].split("/")[0] for c in self.both]
        self.dev = [c.network()["interface"] for c in self.both]
        for c in self.both:
            c.node.sysctl("net/ipv4/tcp_ecn", 1)
            c.node.sysctl("net/ipv4/icmp_ratelimit", 0)
        self.mtu = MTU
        self.wire = lab.inet, self.both[0].node.far["eth0"][1]
        self.total = self.ids = self.mss = self.lost = self.flooded = 0

    def restart(self, environments):
        for c, environment in zip(self.both, environments):
            wrap = ("env", *environment) if environment else ()
            if c.wrap != wrap:
                c.stop()
                c.wrap = wrap
                c.start()
        for c, other in zip(self.both, (1, 0)):
            c.wait_reaches(self.four[other], 20)
            self.lab.wait_ping(c.node, self.six[other], 20)

    def dropped_by_system(self):
        """What either TUN's queue had no room for."""
        return [c.node.tx_dropped(dev) for c, dev in zip(self.both, self.dev)]

    def quiet(self, captures):
        """Waits until what was sent has come out."""
        seen = None

        def still():
            nonlocal seen
            before, seen = seen, [c.count for c in captures]
            return before == seen
        self.lab.wait(still, 20, "the traffic comes to rest", 0.2)

    def compare(self, name, traffic, wire_loses=False, least=0.5):
        """Runs the traffic while both TUNs are captured; what came out must be what went in. Returns the two captures' frames."""
        before, system = Balance(self.both), self.dropped_by_system()
        captures = [Capture(c.node, dev, ethernet=False) for c, dev in zip(self.both, self.dev)]
        traffic()
        self.quiet(captures)
        check(sum(c.stop() for c in captures) == 0, f"{name}: the captures are not complete")
        after, system_now = Balance(self.both), self.dropped_by_system()
        for i, (a, b) in enumerate((self.both, self.both[::-1])):
            mine = (self.four[i], self.six[i])
            sent, got = (of([f for f in c.frames if not too_big(f)], *mine) for c in (captures[i], captures[1 - i]))
            both = Comparison(sent, got, self.mtu)
            check(not both.wrong, f"{name}: {a.name} -> {b.name}: {both.wrong[:3]}")
            explained = (system_now[i] - system[i] + sum(after.refused(before, a).values()) + after.counted(before, a, b) +
                         after.unassigned(before, b))
            lost = len(both.lost_frames)
            check(lost <= explained or wire_loses, f"{name}: {a.name} -> {b.name}: {lost} of {len(sent)} are missing, {explained} "
                                                   f"counted: {after.refused(before, a)}")
            check(both.delivered >= least * both.sent, f"{name}: {a.name} -> {b.name}: only {both.delivered} of {both.sent} came")
            self.total += both.delivered
            if least > 0:
                self.lost += both.sent - both.delivered
            else:
                self.flooded += both.sent - both.delivered
            self.ids, self.mss = self.ids + both.ids, self.mss + both.mss
        return [c.frames for c in captures]

    # --- traffic ---

    def by_hand(self, sizes, seed):
        for i, c in enumerate(self.both):
            hands = Hands(self.four[i], self.four[1 - i], self.six[i], self.six[1 - i], seed)
            injector = Injector(c.node, self.dev[i])
            injector.send(hands.mixed())
            injector.send([p for size in sizes for p in hands.of_size(size)])
            injector.close()

    def kernel(self, megabytes):
        threads = [threading.Thread(target=call, args=arguments, daemon=True) for i in (0, 1) for call, arguments in (
            (self._udp, (i, self.four[1 - i])), (self._udp, (i, self.six[1 - i])), (self._ping, (i,)))]
        streams = [Stream(self.both[i].node, self.both[1 - i].node, address, PORT + n, megabytes << 20) for i in (0, 1)
                   for n, address in enumerate((self.four[1 - i], self.four[1 - i], self.six[1 - i]))]
        for t in threads + streams:
            t.start()
        for t in threads + streams:
            t.join()
        for s in streams:
            check(not s.wrong, f"a TCP stream: {s.wrong}")

    def _udp(self, i, target):
        draw = random.Random(i)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with self.both[i].node:
            plain, silent, segments = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(3))
        if family == socket.AF_INET:
            silent.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        for turn in range(30):
            plain.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, draw.randrange(256)) if family == socket.AF_INET else None
            for s in (plain, silent):
                s.sendto(draw.randbytes(draw.randrange(1300)), (target, 9))
            plain.sendto(draw.randbytes(3000), (target, 9))
            size = draw.choice((1, 64, 500, 1000, self.mtu - 80))
            segments.setsockopt(SOL_UDP, UDP_SEGMENT, size)
            segments.sendto(draw.randbytes(size * draw.randrange(2, 45) + draw.randrange(size)), (target, 9))
            time.sleep(0.01)

    def _ping(self, i):
        for size in (0, 56, 1000, 1352, 3000):
            self.both[i].node.run("ping", "-n", "-q", "-c", "5", "-i", "0.002", "-W", "0.1", "-s", size, self.four[1 - i],
                                  check_code=False)
            self.both[i].node.run("ping", "-n", "-q", "-c", "5", "-i", "0.002", "-W", "0.1", "-s", size, self.six[1 - i],
                                  check_code=False)

    def flood(self, seconds):
        program = self.lab.build_tool("udp_rate", folder="bench")
        self.both[0].node.run(program, "send", self.four[1], 9, 64, 4_000_000, seconds)


def too_big(frame):
    """The daemon's own answers: "fragmentation needed", "packet too big"."""
    packet = frame[VNET_HDR:]
    kind, at, _ = transport(packet)
    return (kind == ICMP and packet[at:at + 2] == b"\3\4") if is_4(packet) else (kind == ICMPV6 and packet[at:at + 1] == b"\2")


def offloads_seen(frames):
    """Which kinds of super-packets, and whether checksums were left to others."""
    kinds = {struct.unpack_from("=BB", f)[1] & 0x7F for f in frames} - {GSO_NONE}
    return kinds, any(f[0] & NEEDS_CSUM for f in frames)


def check_switches(name, rig, frames, outside):
    """The round had the offloads that it was for."""
    for i, c in enumerate(rig.both):
        kinds, partial = offloads_seen(of(frames[i], rig.four[i], rig.six[i]))
        limit = next((w.split("=")[1] for w in c.wrap if w.startswith("GOVPN_TUN_OFFLOAD=")), "uso")
        wanted = {"uso": {1, 4, 5}, "tso": {1, 4}}.get(limit, set())
        check(kinds == wanted, f"{name}: {c.name} was given super-packets of kinds {kinds}, not {wanted}")
        check(partial == (limit != "none"), f"{name}: {c.name}: checksums left to others: {partial}")
    gso = not all({"GOVPN_UDP_OFFLOAD=none", "GOVPN_UDP_OFFLOAD=gro"} & set(c.wrap) for c in rig.both)
    check((outside.trains > 0) == gso, f"{name}: {outside.trains} trains of {outside.frames} frames outside")


def one_round(name, rig, sizes, seed, megabytes):
    outside = Outside(*rig.wire)
    frames = rig.compare(name, lambda: (rig.by_hand(sizes, seed), rig.kernel(megabytes)))
    outside.stop()
    check_switches(name, rig, frames, outside)


def flood(rig, name, seconds):
    """Small packets as fast as they can be made share datagrams. Returns how many."""
    outside = Outside(*rig.wire)
    frames = rig.compare(name, lambda: rig.flood(seconds), least=0)
    outside.stop()
    inner = sum(len(on_wire(f)) for f in of(frames[1], rig.four[0]))
    check(inner >= 3 * outside.datagrams, f"{name}: {inner} packets came in {outside.datagrams} datagrams")
    return inner / outside.datagrams


def cut_on_the_wire(rig, sizes, megabytes):
    """Datagrams leave one by one, and are joined again where they arrive."""
    for c in rig.both:
        c.node.cut_trains(True)
    wire, inside = Outside(*rig.wire), Outside(rig.both[1].node, "eth0")
    rig.compare("cut on the wire", lambda: (rig.by_hand(sizes, 50), rig.kernel(megabytes)))
    wire.stop()
    inside.stop()
    check(wire.trains == 0, f"{wire.trains} trains were not cut")
    check(inside.trains > 0, "nothing was joined again where it arrived")
    for c in rig.both:
        c.node.cut_trains(False)


def small_path(lab, rig, sizes):
    """1,280 bytes outside: what is too large is answered or goes in pieces, and SYNs ask for less."""
    for c in rig.both:
        c.node.mtu(1280)
    for c, other in zip(rig.both, (1, 0)):  # the first large packet tells the daemon
        lab.wait(lambda c=c, o=other: c.node.run("ping", "-n", "-c", "1", "-W", "0.3", "-M", "dont", "-s", "1300", rig.four[o],
                                                 check_code=False).returncode == 0, 10, "a large packet passes")
    rig.mtu = SMALL_MTU
    before = rig.mss
    rig.compare("path of 1,280 bytes", lambda: (rig.by_hand(sizes, 7), rig.kernel(1)))
    check(rig.mss > before, "no SYN was told of the smaller path")


def scenario(lab):
    rig = Rig(lab)
    sizes = range(20, MTU + 1) if lab.long else [*range(20, 110), *range(110, MTU, 37), MTU - 1, MTU]
    megabytes = 8 if lab.long else 1
    bundles = {}
    for seed, (name, environments) in enumerate((LONG if lab.long else SHORT).items()):
        rig.restart(environments)
        one_round(name, rig, sizes, seed, megabytes)
        if lab.long or name != "mixed":
            bundles[name] = flood(rig, f"{name}, flood", 0.1)
    rig.restart(((), ()))
    cut_on_the_wire(rig, sizes[::5], megabytes)
    for c in rig.both:
        c.node.loss(1)
    rig.compare("loss", lambda: rig.kernel(megabytes), wire_loses=True)
    for c in rig.both:
        c.node.loss(0)
    small_path(lab, rig, sizes[::5])
    return (f"{rig.total} packets came out as they went in, {rig.lost} did not (and {rig.flooded} of floods) and were counted; the MSS of {rig.mss} SYNs was "
            f"lowered, {rig.ids} packets with DF and one id for all got others; packets of a flood in one datagram: " +
            ", ".join(f"{name} {n:.1f}" for name, n in bundles.items()))
