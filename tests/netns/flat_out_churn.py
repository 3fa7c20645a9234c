# SPDX-License-Identifier: MIT
"""Flat out while others come and go: TCP as fast as it goes and small packets in all directions, and every 5 s a computer leaves and
joins. Nothing leaks, and each packet that went into a tunnel and did not come out stands in a counter.

    h1 (public, owner) and h2 (public) stay, h3 and h4 (public) leave and join -- inet -- server

The long form is 10 minutes; it also looks at memory.
"""

import socket
import threading
import time

from balance import Balance
from govpn import Computer, Server, wait_mesh
from lab import check
from process import cpu_s, descriptors, rss_kb

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 1200
ALONE = True
PORT, SMALL_PORT, SMALL_BYTES = 7004, 9, 64
SMALL_EACH_S = 20000
CHURN_S = 5
BLOCK = bytes(1 << 18)
WARM_UP = 2  # minutes of the long form before memory counts; the short form is too short to say anything of it
RSS_KB = 1024  # more than that is a leak: buffers of the allocator come and go


class Pusher:
    """A TCP stream as fast as it goes, made again whenever it breaks; the other end reads and forgets."""

    def __init__(self, a, b, address, port):
        self.node, self.target, self.going, self.bytes = a.node, (address, port), True, 0
        with b.node:
            self.listener = socket.create_server(("", port))
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]
        for t in self.threads:
            t.start()

    def _send(self):
        while self.going:
            with self.node:
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            s.settimeout(2)
            try:
                s.connect(self.target)
                while self.going:
                    s.send(BLOCK)
            except OSError:
                time.sleep(0.1)
            s.close()

    def _receive(self):
        into = bytearray(1 << 18)
        self.listener.settimeout(0.2)
        while self.going:
            try:
                s, _ = self.listener.accept()
            except OSError:
                continue
            s.settimeout(2)
            try:
                while n := s.recv_into(into):
                    self.bytes += n
            except OSError:
                pass
            s.close()
        self.listener.close()

    def stop(self):
        self.going = False
        for t in self.threads:
            t.join()


class Run:
    def __init__(self, lab):
        self.lab = lab
        self.server = Server(lab).start()
        self.all = [Computer(lab, lab.public(f"h{i}", 100 + i), options=("--log-level", "info")).start() for i in (1, 2, 3, 4)]
        made = self.all[0].create("party", self.server)
        self.net, self.invite = made["id"], made["invite"]
        for c in self.all[1:]:
            c.join(self.invite)
        self.addresses = wait_mesh(lab, self.all)
        self.small = lab.build_tool("udp_rate", folder="bench")
        self.churns = self.packets = self.lost_on_the_way = self.dropped = 0
        self.bytes = self.overflows = 0
        self.ways = []  # where packets were lost on the way

    def pairs(self):
        """Who sends to whom."""
        a, b, c, d = self.all
        return [(a, b), (b, a), (a, c), (c, a), (d, a), (b, d)]

    def start(self, seconds):
        a, b = self.all[:2]
        pushers = [Pusher(a, b, self.addresses[b], PORT + i) for i, (a, b) in enumerate(self.pairs()[2:])]
        server = b.node.start("iperf3", "-s", "-1", "-B", self.addresses[b], log="iperf3")
        self.lab.wait(lambda: ":5201" in b.node.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
        fast = a.node.start("iperf3", "-c", self.addresses[b], "--bidir", "-P", 2, "-t", seconds, log="fast")
        floods = [server, fast] + [a.node.start(self.small, "send", self.addresses[b], SMALL_PORT, SMALL_BYTES, SMALL_EACH_S, seconds,
                               log=f"small-{a.name}-{b.name}") for a, b in self.pairs()]
        return pushers, floods

    def stop(self, pushers, floods):
        for f in floods:
            f.terminate()
            f.wait(10)
        for p in pushers:
            p.stop()
            self.bytes += p.bytes

    def churn(self, who):
        who.ok("leave", self.net)
        who.join(self.invite)
        check(who.ipv4() == self.addresses[who], f"{who.name} came back as {who.ipv4()}")
        self.churns += 1

    def quiet(self):
        """The counters when nothing is on its way any more, and what was lost has been given up."""
        before = None

        def still():
            nonlocal before
            last, before = before, Balance(self.all)
            return last and all(before.delivered(a, b) == last.delivered(a, b) and before.sent(a, b) == last.sent(a, b) and
                                before.on_the_way(last, a, b) == 0 for a in self.all for b in self.all if a is not b)
        self.lab.wait(still, 20, "the traffic comes to rest", pause_s=0.5)
        return before

    def settle(self, before):
        """Every direction: those who stayed against `before`, the others against their beginning."""
        after, zero = self.quiet(), Balance.zero(self.all)
        stayed = self.all[:2]
        for a in self.all:
            for b in self.all:
                if a is b:
                    continue
                since = before if a in stayed and b in stayed else zero
                sent, lost = after.sent(a, b) - since.sent(a, b), after.lost(since, a, b)
                counted, way = after.counted(since, a, b), after.on_the_way(since, a, b)
                check(counted <= lost <= counted + way,
                      f"{a.name} -> {b.name}: {sent} sent, {lost} missing, {counted} counted as dropped, {way} as lost on the way")
                self.packets += sent
                self.lost_on_the_way += lost - counted
                self.dropped += counted
                if way > 0:
                    self.ways.append(f"{a.name} -> {b.name} {way} of {sent}")
        self.overflows += sum(after.dropped[c]["rx_overflow"] - before.dropped[c]["rx_overflow"] for c in self.all[:2])
        return after

    def chunk(self, seconds):
        before = self.quiet()
        start, n = time.monotonic(), 0
        traffic = self.start(seconds + 60 * self.lab.slow)
        while time.monotonic() - start < seconds:
            time.sleep(CHURN_S / 2)
            self.churn(self.all[2 + n % 2])
            n += 1
            time.sleep(max(0, start + CHURN_S * n - time.monotonic()))
        self.stop(*traffic)
        wait_mesh(self.lab, self.all, 30)
        self.settle(before)

    def memory(self):
        return {p.name if hasattr(p, "name") else "server": rss_kb(p.process.pid) for p in [*self.all, self.server]}

    def files(self):
        return {c.name: len(descriptors(c.process.pid)) for c in self.all}


def scenario(lab):
    run = Run(lab)
    files, cpu, start = run.files(), [cpu_s(c.process.pid) for c in run.all], time.monotonic()
    memory = []
    for _ in range(10 if lab.long else 1):
        run.chunk(60 if lab.long else 2 * CHURN_S)
        memory.append(run.memory())
        if lab.long:
            print(f"{run.packets} packets, {run.churns} times left and joined, RSS {memory[-1]} kB, lost on the way: {run.ways}, "
                  f"{run.overflows} times a buffer was full", flush=True)
    for c in run.all:
        check(c.process.poll() is None, f"govpnd of {c.name} ended")
    lab.wait(lambda: run.files() == files, 10, f"as many descriptors as at the beginning: {files}", 0.5)
    rss = f"RSS {sorted(memory[-1].values())} kB"
    if len(memory) > WARM_UP:
        grown = {name: memory[-1][name] - memory[WARM_UP - 1][name] for name in memory[0]}
        # A sanitizer keeps what was freed for a while.
        check(lab.slow > 1 or all(kb <= RSS_KB for kb in grown.values()), f"memory has grown by {grown} kB: {memory}")
        rss += f", grown by {sorted(grown.values())} kB"
    seconds = time.monotonic() - start
    used = sum(cpu_s(c.process.pid) - before for c, before in zip(run.all, cpu))
    return (f"{seconds:.0f} s, {run.packets} packets, {run.bytes * 8 / seconds / 1e9:.2f} Gbit/s of TCP, {used / seconds:.1f} cores; "
            f"{run.churns} times left and joined; {run.dropped} dropped and {run.lost_on_the_way} lost on the way "
            f"(buffers of sockets were full {run.overflows} times), all counted; {rss}; "
            f"descriptors as before")
