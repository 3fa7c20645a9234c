# SPDX-License-Identifier: MIT
"""Floods of datagrams from strangers, random, well formed, and STUN answers by guess, into the port of a live tunnel.

    flood (in inet) -> h1 (public);  h2 (public) -- inet

A TCP stream goes from h2 to h1 all the while. Its goodput is compared between times with and without flood, in turns. The
flood is made on the same two cores, so the stream is held to a rate that leaves room for it; what an unbounded one
gets is told too, but the flooder's own work is in that figure. Under the answers h2 connects anew as well.
"""

import os
import signal
import socket
import struct
import threading
import time

from attacker import Connects, flood_command, write_items
from govpn import Computer, Server, percentile, wait_mesh
from lab import RUN, check
from process import rss_kb

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 420
ALONE = True

RATE = 50000
OVERFLOW = 50000
ADDED_MS = 100
PACED_BYTES = 100_000_000 // 8
COUNTER = """table ip strangers { chain o { type filter hook output priority 0;
ip daddr 198.51.100.0/24 counter
}
}
"""


def record(kind, epoch, body):
    return struct.pack("!BHHHIH", kind, 0xFEFD, epoch, 0, 1, len(body)) + body


def client_hello():
    """A ClientHello as a WebRTC client sends it, extensions apart."""
    body = b"\xfe\xfd" + os.urandom(32) + b"\0\0" + struct.pack("!HHH", 4, 0xC02B, 0xC02F) + b"\1\0" + struct.pack("!H", 0)
    head = bytes([1]) + struct.pack("!I", len(body))[1:] + b"\0\0" + b"\0\0\0" + struct.pack("!I", len(body))[1:]
    return record(22, 0, head + body)


def stun(kind, *attributes, ident=bytes(12)):
    body = b"".join(struct.pack("!HH", t, len(v)) + v + b"\0" * (-len(v) % 4) for t, v in attributes)
    return struct.pack("!HHI", kind, len(body), 0x2112A442) + ident + body


RANDOM = [(bytes(n), 1) for n in (1, 4, 20, 60, 100, 200, 500, 1200)]
WELL_FORMED = [
    (stun(1), 2), (stun(1, (6, b"abcd:efgh")), 2), (stun(1, (6, b"a" * 500)), 2),
    (stun(1, (6, b"abcd:efgh"), (0x24, bytes(4)), (0x8029, bytes(8)), (0x25, b""), (8, bytes(20)), (0x8028, bytes(4))), 2),
    (stun(0x0101, (0x20, bytes(8))), 2), (stun(0x0111, (9, b"\0\0\4\0no")), 2), (stun(0x0011), 2), (stun(3, (0xD, bytes(4))), 2),
    client_hello(), record(22, 0, bytes(200)), record(21, 0, b"\2\50"), record(23, 1, bytes(100)), record(20, 0, b"\1"),
    b"\x40\0\0\4abcd", b"\x80\x60" + bytes(160), b"",
]
# Success, from transactions as if each began with a small number.
GUESSED = [stun(0x0101, (0x20, b"\0\1" + os.urandom(6)), ident=struct.pack("!I", n) + os.urandom(8)) for n in range(1, 1001)]


class Stream:
    """A TCP stream that never ends; received counts its bytes."""

    def __init__(self, source, target, address, pace=None):
        self.received, self.going = 0, True
        with target.node:
            listener = socket.create_server((address, 0))
        with source.node:
            self.sender = socket.socket()
        if pace:
            self.sender.setsockopt(socket.SOL_SOCKET, 47, pace)  # SO_MAX_PACING_RATE
        self.sender.connect(listener.getsockname())
        self.receiver, _ = listener.accept()
        listener.close()
        for work in (self._send, self._receive):
            threading.Thread(target=work, daemon=True).start()

    def _send(self):
        data = bytes(1 << 18)
        try:
            while self.going:
                self.sender.sendall(data)
        except OSError:
            pass

    def _receive(self):
        memory = bytearray(1 << 20)
        try:
            while n := self.receiver.recv_into(memory):
                self.received += n
        except OSError:
            pass

    def stop(self):
        self.going = False
        self.receiver.shutdown(socket.SHUT_RDWR)
        self.sender.close()


class Flood:
    def __init__(self, lab, me, items):
        self.lab, self.me, self.path = lab, me, f"{RUN}/flood-items"
        write_items(self.path, items)

    def run(self, count):
        """Sends so many packets and waits; (seconds, CPU seconds of the flooder)."""
        done = self.lab.inet.run(*flood_command(self.me.node, self.path, RATE, count), timeout_s=120)
        sent, seconds, cpu = done.stdout.split()
        check(int(sent) == count, f"{sent} sent")
        return float(seconds), float(cpu)


def dropped(me):
    return {k: n for k, n in me.network()["dropped"].items() if k.startswith("rx_")}


def in_turns(stream, flood, rounds, count):
    """Goodput in Mbit/s without and with the flood, and the flooder's CPU in cores."""
    quiet, loud, cpu = [], [], 0
    seconds = count / RATE
    for _ in range(rounds):
        time.sleep(0.2)
        before, start = stream.received, time.monotonic()
        time.sleep(seconds)
        quiet.append((stream.received - before) * 8e-6 / (time.monotonic() - start))
        before, start = stream.received, time.monotonic()
        took, used = flood.run(count)
        loud.append((stream.received - before) * 8e-6 / (time.monotonic() - start))
        cpu += used / took / rounds
    return sum(quiet) / rounds, sum(loud) / rounds, cpu


def answered(node):
    return node.run("nft", "list", "table", "ip", "strangers").stdout.split("bytes ")[1].split()[0]


def connects_under(lab, me, other, items):
    """h2 connects anew to the flooded h1, as soon as without the flood; what the data plane passes on never crowds it out."""
    connects, number = Connects(lab, other, me.ipv4()), 50 if lab.long else 5
    quiet = [connects.one() for _ in range(number)]
    before, path = dropped(me), f"{RUN}/flood-connects"
    write_items(path, items)
    flood = lab.inet.start(*flood_command(me.node, path, RATE, 10**8), log="flood")
    lab.wait(lambda: dropped(me)["rx_unknown"] > before["rx_unknown"], 5, "the flood begins")
    loud = [connects.one() for _ in range(number)]
    check(flood.poll() is None, "the flood ended too soon")
    flood.kill()
    flood.wait()
    check(dropped(me)["rx_lane"] == before["rx_lane"], f"the lane of STUN was full: {dropped(me)}")
    figures = f"{number} connects under guessed answers: median {percentile(loud, 50)} ms, without {percentile(quiet, 50)} ms"
    check(percentile(loud, 50) <= percentile(quiet, 50) + ADDED_MS, figures)
    return figures


def overflow(lab, me, other):
    """What the kernel drops while the daemon does not run is counted too."""
    flood = Flood(lab, me, RANDOM)
    before = sum(dropped(me).values())
    me.process.send_signal(signal.SIGSTOP)
    flood.run(OVERFLOW)
    me.process.send_signal(signal.SIGCONT)

    def rise():
        me.reaches(other.ipv4())  # the next datagram tells of the losses before it
        return sum(dropped(me).values()) - before

    lab.wait(lambda: rise() >= OVERFLOW, 10, "what the kernel dropped is counted")
    # A few of the peer's own may have met the full buffer as well.
    check(rise() < OVERFLOW + 100 and dropped(me)["rx_overflow"] > 0, f"{rise()} of {OVERFLOW} counted: {dropped(me)}")
    return dropped(me)["rx_overflow"]


def scenario(lab):
    server = Server(lab).start()
    me = Computer(lab, lab.public("h1", 101, ipv6=False), options=("--udp-port", "7000")).start()
    other = Computer(lab, lab.public("h2", 102, ipv6=False)).start()
    me.node.nft(COUNTER)
    other.join(me.create("party", server)["invite"])
    address = wait_mesh(lab, [me, other])[me]
    rounds, count = (5, 200000) if lab.long else (2, 25000)
    notes = []
    for name, items in (("random", RANDOM), ("well formed", WELL_FORMED), ("guessed answers", GUESSED)):
        flood, stream = Flood(lab, me, items), Stream(other, me, address, PACED_BYTES)
        time.sleep(0.5)
        flood.run(1000)
        before, kib = dropped(me), rss_kb(me.process.pid)
        quiet, loud, cpu = in_turns(stream, flood, rounds, count)
        stream.stop()
        grown = rss_kb(me.process.pid) - kib
        sent = rounds * count

        def counted():
            rises = {k: n - before[k] for k, n in dropped(me).items() if n != before[k]}
            return rises if sum(rises.values()) >= sent else None

        rises = lab.wait(counted, 10, f"{name}: {sent} counted ({before}, {dropped(me)})")
        notes.append(f"{sent} {name}: {quiet:.1f} -> {loud:.1f} Mbit/s, flooder {cpu:.2f} cores, memory +{grown} KiB, {rises}")
        print(notes[-1])
        check(answered(me.node) == "0", f"{name}: {answered(me.node)} bytes were answered")
        check(loud >= 0.8 * quiet, f"{name}: goodput fell from {quiet} to {loud} Mbit/s")
        check(grown <= 256, f"{name}: memory grew by {grown} KiB")
        if items is GUESSED:
            check(set(rises) <= {"rx_unknown", "rx_overflow"}, f"{name}: counted as {rises}")
    notes.append(connects_under(lab, me, other, GUESSED))
    if lab.long:
        stream = Stream(other, me, address)
        time.sleep(1)
        quiet, loud, cpu = in_turns(stream, flood, rounds, count)
        notes.append(f"unbounded stream: {quiet:.0f} -> {loud:.0f} Mbit/s with the flooder on {cpu:.2f} of the cores")
    notes.append(f"{overflow(lab, me, other)} of {OVERFLOW} dropped by the kernel while the daemon was stopped, all counted")
    check(me.reaches(other.ipv4()), "the tunnel did not survive")
    return "; ".join(notes)
