# SPDX-License-Identifier: MIT
"""A daemon with very many connected peers: memory, idle cost, and the speed to one that is busy.

    h1 (public, the owner) -- inet -- h2 (public, busy), swarm nodes (public) with up to 100 members each
"""

import json
import os
import signal
import socket
import time

from attacker import support
from govpn import Computer, Pinger, Server
from lab import RUN, check
from process import run_s

TIME_LIMIT_S = 100
LONG_TIME_LIMIT_S = 1200
ALONE = True
PER_NODE = 20
BESIDE_MS = 60  # a ping beside a burst of broadcasts
RATIO = 0.7  # of the speed to one peer that is left among many; 0.9 and more on an idle machine
IDLE_PEERS, IDLE_PERCENT = 100, 0.5  # the long form: what so many idle peers may cost of a core


def memory_kib(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(f"{key}:"))


def idle_percent(pid, seconds):
    before = run_s(pid)
    time.sleep(seconds)
    return 100 * (run_s(pid) - before) / seconds


def connected(computer):
    return sum(peer["state"] == "connected" for peer in computer.peers().values())


def add_swarm(lab, link, number, count):
    node = lab.public(f"s{number}", 150 + number)
    folder = f"{RUN}/swarm{number}"
    os.makedirs(folder)
    return node.start(support("swarm"), count, link, folder, log=f"swarm{number}")


def gbps(lab, a, b, address, seconds):
    server = b.node.start("iperf3", "-s", "-1", "-B", address, log="iperf3")
    lab.wait(lambda: f"{address}:5201" in b.node.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
    out = a.node.run("iperf3", "-J", "-c", address, "-t", seconds, timeout_s=seconds + 20).stdout
    server.wait(20)
    return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9


def broadcasts(owner, to, address):
    """400 at once, to everybody. Returns how long a ping to one peer took beside them at worst, ms."""
    pinger = Pinger(owner.node, address, 0.005)
    with owner.node, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        time.sleep(0.2)
        for _ in range(400):
            s.sendto(b"anybody there?", (to, 9))
    time.sleep(1)
    lost, sent = pinger.stop()
    check(lost == 0, f"{lost} of {sent} pings lost beside broadcasts")
    return max(pinger.times_ms)


def scenario(lab):
    total = int(os.environ.get("GOVPN_PEERS", 1000 if lab.long else 40))
    server = Server(lab).start()
    owner = Computer(lab, lab.public("h1", 101)).start()
    busy = Computer(lab, lab.public("h2", 102)).start()
    link = owner.create("crowd", server, "--subnet", "10.61.0.0/22")["invite"]
    busy.join(link)
    address = busy.ipv4()
    owner.wait_reaches(address)
    alone = [gbps(lab, owner, busy, address, 2) for _ in range(3)]
    pid = owner.process.pid
    lines = [f"one peer: VmHWM {memory_kib(pid, 'VmHWM') / 1024:.1f} MB, RssAnon {memory_kib(pid, 'RssAnon') / 1024:.1f} MB"]
    steps = [n for n in (100, 1000) if n < total] + [total]
    swarm, number, swarms = 0, 0, []
    for step in steps:
        start = time.monotonic()
        while swarm < step:
            count = min(PER_NODE, step - swarm)
            swarms.append(add_swarm(lab, link, number, count))
            number, swarm = number + 1, swarm + count
        lab.wait(lambda: connected(owner) == swarm + 1, 600, f"{swarm} peers are connected", 0.5)
        seconds = time.monotonic() - start
        time.sleep(5)
        idle = idle_percent(pid, 20 if lab.long else 5)
        check(not lab.long or step != IDLE_PEERS or idle <= IDLE_PERCENT * lab.slow, f"{step} idle peers cost {idle:.2f} % of a core")
        lines.append(f"{step} idle peers after {seconds:.0f} s: VmHWM {memory_kib(pid, 'VmHWM') / 1024:.1f} MB, RssAnon "
                     f"{memory_kib(pid, 'RssAnon') / 1024:.1f} MB, CPU {idle:.2f} % of a core")
    crowd, beside = [], []
    for _ in range(3):
        # The others' own processor time is not what is measured: they stand still for a moment.
        for one in swarms:
            one.send_signal(signal.SIGSTOP)
        crowd.append(gbps(lab, owner, busy, address, 2))
        beside.append(broadcasts(owner, "10.61.3.255", address))
        for one in swarms:
            one.send_signal(signal.SIGCONT)
        lab.wait(lambda: connected(owner) == total + 1, 60, "all peers are connected again", 0.5)
    ratio = sorted(crowd)[1] / sorted(alone)[1]
    lines.append(f"{sorted(alone)[1]:.2f} Gbit/s to the busy one alone, {sorted(crowd)[1]:.2f} among {total}")
    lines.append(f"beside 400 broadcasts to all a ping took at most {sorted(beside)[1]:.0f} ms")
    check(sorted(beside)[1] <= BESIDE_MS * lab.slow, f"pings beside broadcasts took {beside} ms")
    check(connected(owner) == total + 1, f"only {connected(owner)} are still connected")
    check(memory_kib(pid, "VmHWM") < 24 * 1024 + 82 * total, lines)
    check(ratio > RATIO, f"slower to one among many: {alone} then {crowd}")
    return "; ".join(lines)
