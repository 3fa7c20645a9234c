# SPDX-License-Identifier: MIT
"""Mixed traffic for an hour (GOVPN_TRAFFIC_MINUTES, 60): UDP, TCP, ping and broadcast, about 10 Mbit/s between four computers.
Each minute one of them leaves and joins; every third minute one gets another address, inside or outside; every fifth of
the first half the server is killed and comes back; in the second half it lives, for its memory to be compared. Memory and
descriptors of every daemon and of the server stay where they were, and every packet that went into a tunnel and did not come
out stands in a counter, or fell into the seconds of a change.

    h1 (public, owner), h2 -- r2 (port NAT), h3 -- r3 (cone NAT), h4 -- r4 (port NAT), all -- inet -- server
"""

import ipaddress
import math
import os
import time

from balance import Balance
from govpn import Computer, Server, wait_mesh
from lab import check
from process import Heap, cpu_s, descriptors, rss_kb
from traffic import Traffic

SOAK = True
ALONE = True
MINUTES = int(os.environ.get("GOVPN_TRAFFIC_MINUTES", "60"))
TIME_LIMIT_S = int(os.environ.get("GOVPN_TRAFFIC_MINUTES", "60")) * 75 + 180
QUIET_S = 0.5  # until what was sent has arrived
OUTAGE_S = 5  # a change may cost so many seconds of traffic
BACK_S = 20  # behind two NATs a new address outside needs the server, whose connection must be found dead first
# Pages are touched for the first time for hours; what is really in use is told by the blocks of the heap.
SLOPE_KB_H, BLOCKS_MORE = 100, 8


class Series:
    """One figure per minute; its slope by least squares."""

    def __init__(self):
        self.points = []

    def add(self, hours, value):
        self.points.append((hours, value))

    def slope(self):
        """(per hour, standard error) of the second half."""
        points = self.points[len(self.points) // 2:]
        n = len(points)
        if n < 3:
            return 0.0, math.inf
        mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
        sxx = sum((x - mx) ** 2 for x, _ in points)
        slope = sum((x - mx) * (y - my) for x, y in points) / sxx
        rest = sum((y - my - slope * (x - mx)) ** 2 for x, y in points)
        return slope, math.sqrt(rest / (n - 2) / sxx)


class Run:
    def __init__(self, lab):
        self.lab = lab
        quiet = ("--log-level", "info")
        self.server = Server(lab, options=quiet)
        self.all = [Computer(lab, lab.home(kind), options=quiet) for kind in ("open", "port", "cone", "port")]
        self.programs = {"server": self.server} | {c.name: c for c in self.all}
        self.heap = {name: Heap(lab, name) for name in self.programs}
        for name, one in self.programs.items():
            one.wrap = self.heap[name].wrap()
            one.start()
        made = self.all[0].create("party", self.server)
        for c in self.all[1:]:
            c.join(made["invite"])
        self.net = made["id"]
        self.invite = made["invite"]
        self.addresses = wait_mesh(lab, self.all)
        subnet = ipaddress.ip_network(self.all[0].network()["subnet"])
        self.traffic = Traffic(self.addresses, str(subnet.broadcast_address))
        self.start = time.monotonic()
        self.rss = {name: Series() for name in self.programs}
        self.blocks = {name: Series() for name in self.programs}
        self.lost = {}  # kind of change -> packets
        self.slowest = 0.0  # seconds until a computer with another address was back
        self.sent = self.steady = self.dropped = 0
        self.last = {c: 100 for c in self.all}

    def pids(self):
        return {c.name: c.process.pid for c in self.all}

    def quiet(self):
        """Nothing is on its way any more: the counters of that moment."""
        self.traffic.pause()
        time.sleep(QUIET_S)
        before = Balance(self.all)

        def still():
            nonlocal before
            now = Balance(self.all)
            moved = any(now.delivered(a, b) != before.delivered(a, b) for a in self.all for b in self.all if a is not b)
            before = now
            return not moved
        self.lab.wait(still, 10, "the traffic comes to rest", pause_s=0.3)
        return before

    def go(self, seconds):
        self.traffic.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for c in self.all:
                check(c.process.poll() is None, f"govpnd of {c.name} ended")
            one, other = self.all[0], self.all[1 + int(until) % 3]
            if self.traffic.by[other].on:
                one.reaches(self.addresses[other], 0.5)
            time.sleep(0.3)

    # --- the changes ---

    def churn(self, who):
        self.traffic.by[who].on = False
        who.ok("leave", self.net)
        who.join(self.invite)
        check(who.ipv4() == self.addresses[who], f"{who.name} came back as {who.ipv4()}")
        self.meet(who)
        self.traffic.by[who].on = True

    def roam(self, who, outside):
        self.last[who] = self.last[who] % 200 + 3
        if outside:
            self.lab.new_public_address(who.node.router, 200 + int(who.node.name[1:]) + 10 * (self.last[who] % 2))
        else:
            self.lab.new_lan_address(who.node, self.last[who])
        start = time.monotonic()
        self.meet(who)
        took = time.monotonic() - start
        check(took < BACK_S * self.lab.slow, f"{who.name} was back after {took:.1f} s with another address")
        self.slowest = max(self.slowest, took)

    def meet(self, who):
        for other in self.all:
            if other is not who:
                self.lab.wait(lambda o=other: who.reaches(self.addresses[o]), 30, f"{who.name} reaches {other.name} again")
                self.lab.wait(lambda o=other: o.reaches(self.addresses[who]), 30, f"{other.name} reaches {who.name} again")

    def server_restart(self):
        self.server.kill9()
        time.sleep(1)
        self.server.start()
        self.blocks["server"] = Series()

    # --- a minute ---

    def settle(self, kind, before, touched):
        """Counters against those before: directions that no change touched must be explained to the packet."""
        after = self.quiet()
        names = {c.name for c in touched}
        pairs = {(a, b) for a in self.all for b in self.all if a is not b}
        left = {(a, b) for a, b in pairs if a.name not in names and b.name not in names}
        after.settle(before, left)
        for a, b in pairs:
            sent, lost = after.sent(a, b) - before.sent(a, b), after.lost(before, a, b)
            if sent < 0:
                continue  # left and came back: counted from the beginning
            self.sent += sent
            if (a, b) in left:
                self.steady += sent
                self.dropped += after.counted(before, a, b)
                continue
            self.lost[kind] = self.lost.get(kind, 0) + max(lost, 0)
            rate = self.traffic.udp_each_s + self.traffic.tcp_tick_bytes / 0.02 / 1200 + 10
            check(lost <= OUTAGE_S * rate * self.lab.slow, f"{kind}: {lost} packets {a.name} -> {b.name} were lost")
        return after

    def minute(self, n):
        before = self.quiet()
        self.go(25)
        before = self.settle("none", before, ())
        who = self.all[1 + n % 3]
        self.traffic.start()
        self.churn(who)
        self.go(8)
        before = self.settle("leave and join", before, (who,))
        if n % 3 == 2:
            who = self.all[1 + n // 3 % 3]
            self.traffic.start()
            self.roam(who, n % 2 == 0)
            self.go(15)
            before = self.settle("new address", before, (who,))
        if n % 5 == 4 and n < MINUTES // 2:
            self.traffic.start()
            self.server_restart()
            self.go(10)
            before = self.settle("server killed", before, ())
            for c in self.all:
                self.lab.wait(lambda c=c: c.network()["server"]["connected"], 60, f"{c.name} is at the server again")
        wait_mesh(self.lab, self.all, 30)
        rest = self.start + 60 * (n + 1) - time.monotonic()
        if rest > 1:
            before = self.quiet()
            self.go(rest)
            self.settle("none", before, ())
        self.measure()

    def descriptors(self):
        """Without those of commands that have just ended."""
        seen = []
        for _ in range(5):
            time.sleep(0.1)
            seen.append({name: len(descriptors(one.process.pid)) for name, one in self.programs.items()})
        return {name: min(s[name] for s in seen) for name in seen[0]}

    def measure(self):
        self.traffic.pause()
        hours = (time.monotonic() - self.start) / 3600
        for name, one in self.programs.items():
            self.rss[name].add(hours, rss_kb(one.process.pid))
            self.blocks[name].add(hours, self.heap[name].blocks())


def scenario(lab):
    run = Run(lab)
    run.go(5)
    run.quiet()
    pids = run.pids()
    had = run.descriptors()
    used = {c.name: cpu_s(c.process.pid) for c in run.all}
    for n in range(MINUTES):
        run.minute(n)
        print(f"minute {n + 1}: {run.sent} packets, lost in changes {run.lost}, "
              f"RSS { {name: s.points[-1][1] for name, s in run.rss.items()} } kB", flush=True)
    run.quiet()
    check(run.pids() == pids, "a daemon was replaced")
    check(not run.traffic.tcp_wrong, "a TCP stream had wrong bytes")
    has = run.descriptors()
    check(has == had, f"descriptors: {had} before, {has} after")
    hours = (time.monotonic() - run.start) / 3600
    slopes = {name: s.slope() for name, s in run.rss.items()}
    more = {name: s.points[-1][1] - s.points[0][1] for name, s in run.blocks.items()}
    check(all(n <= BLOCKS_MORE for n in more.values()), f"blocks of the heap more than after the first minute of each: {more}")
    for name, (slope, error) in slopes.items():
        check(MINUTES < 20 or slope <= SLOPE_KB_H + 2 * error, f"{name}: RSS grows {slope:.0f} +- {error:.0f} kB/h")
    logs = max(os.path.getsize(path) for path in lab.logs.values())
    got = sum(sum(m.got.values()) for m in run.traffic.members)
    cpu = max((cpu_s(c.process.pid) - used[c.name]) / 36 / hours for c in run.all)
    return (f"{hours * 60:.0f} min, {run.sent} packets ({got} UDP and {run.traffic.tcp_bytes >> 20} MB TCP delivered, "
            f"{run.traffic.broadcasts} broadcasts); {run.steady} of them outside of changes: {run.dropped} dropped, all "
            f"counted; lost in changes: {run.lost}, another address cost at most {run.slowest:.1f} s; RSS slope " +
            ", ".join(f"{n} {s:+.0f} +- {e:.0f}" for n, (s, e) in slopes.items()) +
            f" kB/h in the second half, blocks of the heap {more} since the first minute; descriptors {sorted(has.values())} as before; log {logs / 1e6 / hours * 24:.1f} MB/day; "
            f"{cpu:.1f} % of a core at most")
