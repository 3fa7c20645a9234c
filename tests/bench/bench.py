#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compares tunnels on one machine: two namespaces, one veth wire, each program in turn, several rounds.

usage: bench.py [--build DIR] [--quick] [--rounds N] [--out FILE] [--also FILE.json]... [PROGRAM...]

Measured: one TCP stream, four, one in reverse; 64-byte UDP datagrams a second with less than 1 % loss, and what of a
flood of them arrives; ping, idle and under one TCP stream, average and 99th percentile; CPU seconds of both ends per GB of the
one stream; the largest peak of memory (VmHWM) and what was private then (RssAnon) of the two ends. Rounds are interleaved, so
that a slow minute of the machine meets all. Each figure goes to FILE as a JSON line; the table has the medians, and chart.py draws
them.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import time

import inside

TICKS = os.sysconf("SC_CLK_TCK")
UDP_BYTES, MAX_LOSS = 64, 0.01

COLUMNS = [
    # key, title, format, scale, larger is better
    ("tcp1", "1 stream", "{:.2f}", 1e-9),
    ("tcp4", "4 streams", "{:.2f}", 1e-9),
    ("reverse", "reverse", "{:.2f}", 1e-9),
    ("udp_pps", "64 B kpps", "{:.0f}", 1e-3),
    ("udp_flood_pps", "flood kpps", "{:.0f}", 1e-3),
    ("ping_idle_ms", "ping idle ms", "{:.3f}", 1),
    ("ping_idle_p99_ms", "p99", "{:.3f}", 1),
    ("ping_loaded_ms", "loaded ms", "{:.2f}", 1),
    ("ping_loaded_p99_ms", "p99", "{:.2f}", 1),
    ("ping_loaded_lost", "lost", "{:.0f}", 1),
    ("cpu_s_per_gb", "CPU s/GB", "{:.2f}", 1),
    ("vm_hwm_kb", "VmHWM MB", "{:.1f}", 1 / 1024),
    ("rss_anon_kb", "RssAnon MB", "{:.1f}", 1 / 1024),
]


class Bench:
    def __init__(self, lab, seconds):
        self.lab, self.seconds = lab, seconds
        self.a, self.b = lab.node("a"), lab.node("b")
        lab.veth(self.a, "eth0", self.b, "eth0")
        self.a.ip("addr add 10.99.0.1/24 dev eth0")
        self.b.ip("addr add 10.99.0.2/24 dev eth0")
        self.udp_rate = lab.build_tool("udp_rate", folder="bench")

    # --- single measurements ---

    def iperf(self, address, *options):
        """Bits a second that arrived, and bytes."""
        server = self.b.start("iperf3", "-s", "-1", "-B", address, log="iperf3")
        self.lab.wait(lambda: f"{address}:5201" in self.b.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
        done = self.a.run("iperf3", "-J", "-c", address, "-t", self.seconds, *options, timeout_s=self.seconds + 20)
        server.wait(10)
        end = json.loads(done.stdout)["end"]
        return end["sum_received"]["bits_per_second"], end["sum_received"]["bytes"]

    def cpu_s(self, processes):
        total = 0
        for process in processes:
            with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    @staticmethod
    def memory_kb(processes, key):
        values = []
        for process in processes:
            with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
                values.append(int(re.search(rf"^{key}:\s+(\d+) kB", f.read(), re.M)[1]))
        return max(values) if values else None

    def send_udp(self, address, per_second, seconds):
        """How many datagrams were sent at this rate, and how many arrived."""
        receiver = subprocess.Popen(self.b.wrap([self.udp_rate, "recv", address, 7000]), stdout=subprocess.PIPE, text=True)
        receiver.stdout.readline()
        sent = int(self.a.run(self.udp_rate, "send", address, 7000, UDP_BYTES, per_second, seconds).stdout)
        time.sleep(0.2)  # what is under way may arrive
        receiver.terminate()
        return sent, int(receiver.communicate()[0])

    def pass_udp(self, address, per_second, seconds):
        """The share of datagrams that was lost at this rate."""
        sent, got = self.send_udp(address, per_second, seconds)
        # A sender that cannot keep the rate has found its own limit, not that of the tunnel.
        return (sent - got) / sent if sent >= 0.9 * per_second * seconds else 1.0

    def udp_pps(self, address, seconds, steps):
        """The largest rate with less than MAX_LOSS: doubled until it fails, then the gap is halved."""
        good, bad = 0, None
        rate = 10000
        while bad is None and rate < 4_000_000:
            if self.pass_udp(address, rate, seconds) < MAX_LOSS:
                good, rate = rate, rate * 2
            else:
                bad = rate
        for _ in range(steps):
            middle = (good + bad) // 2
            if self.pass_udp(address, middle, seconds) < MAX_LOSS:
                good = middle
            else:
                bad = middle
        return good

    def pings(self, address, count, interval_s):
        """Average and 99th percentile in ms, and how many were lost."""
        out = self.a.run("ping", "-n", "-i", interval_s, "-c", count, "-W", "1", address, check_code=False).stdout
        times = sorted(float(t) for t in re.findall(r"time=([\d.]+)", out))
        if not times:
            return float("nan"), float("nan"), count
        return statistics.mean(times), times[int(len(times) * 0.99)], count - len(times)

    # --- one program, once ---

    def measure(self, program, quick):
        try:
            return self.figures(program, program.up(), quick)
        finally:
            program.down()  # or the next round finds its ports in use

    def figures(self, program, addresses, quick):
        to = addresses["b"]
        # fastd's first call may be lost, and it waits 20 s before the next.
        self.lab.wait_ping(self.a, to, 60)
        self.lab.wait_ping(self.b, addresses["a"], 20)
        result = {}
        result["ping_idle_ms"], result["ping_idle_p99_ms"], _ = self.pings(to, 100 if quick else 500, 0.01)
        before = self.cpu_s(program.processes)
        result["tcp1"], moved = self.iperf(to)
        if program.processes:
            result["cpu_s_per_gb"] = (self.cpu_s(program.processes) - before) / (moved / 1e9)
        result["tcp4"], _ = self.iperf(to, "-P", "4")
        result["reverse"], _ = self.iperf(to, "-R")
        load = subprocess.Popen(self.b.wrap(["iperf3", "-s", "-1", "-B", to]), stdout=subprocess.DEVNULL)
        self.lab.wait(lambda: f"{to}:5201" in self.b.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
        stream = subprocess.Popen(self.a.wrap(["iperf3", "-c", to, "-t", str(self.seconds + 1)]), stdout=subprocess.DEVNULL)
        time.sleep(0.3)  # a stream that has begun
        average, p99, lost = self.pings(to, int(self.seconds * 40), 0.02)
        stream.wait()
        load.wait()
        result["ping_loaded_ms"], result["ping_loaded_p99_ms"], result["ping_loaded_lost"] = average, p99, lost
        _, got = self.send_udp(to, 4_000_000, self.seconds / 2)
        result["udp_flood_pps"] = got / (self.seconds / 2)
        result["udp_pps"] = self.udp_pps(to, 0.4 if quick else 1, 3 if quick else 5)
        result["vm_hwm_kb"] = self.memory_kb(program.processes, "VmHWM")
        result["rss_anon_kb"] = self.memory_kb(program.processes, "RssAnon")
        return result


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/loadavg", encoding="ascii") as f:
        load = f.read().split()[0]
    return {"date": time.strftime("%Y-%m-%d"), "cpu": model[1] if model else "?", "cpus": os.cpu_count(),
            "kernel": os.uname().release, "load_before": float(load)}


def median_of(results, name, key):
    values = [r[key] for r in results.get(name, []) if r.get(key) is not None]
    return statistics.median(values) if values else None


def table(results, names):
    print("\nmedians; TCP in Gbit/s")
    head = ["program"] + [title for _, title, _, _ in COLUMNS]
    rows = [head]
    for name in names:
        row = [name]
        for key, _, form, scale in COLUMNS:
            value = median_of(results, name, key)
            row.append("-" if value is None else form.format(value * scale))
        rows.append(row)
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def against(results, names):
    """goVPN's medians divided by those of each other program of the same run."""
    for name in names:
        ratios = []
        for key, title, _, _ in COLUMNS:
            ours, theirs = median_of(results, "goVPN", key), median_of(results, name, key)
            if ours and theirs:
                ratios.append(f"{title} {ours / theirs:.2f}")
        if name != "goVPN" and ratios:
            print(f"goVPN / {name}: " + ", ".join(ratios))


def perform(args):
    import programs
    from lab import Lab

    rounds = args.rounds or (1 if args.quick else 3)
    classes = list(programs.ALL)
    for path in args.also:
        with open(path, encoding="utf-8") as f:
            classes.append(programs.from_description(json.load(f)))
    wanted = [w.lower() for w in args.names]
    classes = [c for c in classes if not wanted or any(w in c.name.lower() for w in wanted)]
    lab = Lab()
    bench = Bench(lab, 2 if args.quick else 5)
    results = {c.name: [] for c in classes}
    failed = 0
    with open(args.out, "w", encoding="utf-8") as out:
        print(json.dumps(machine()), file=out)
        for number in range(rounds):
            for made in classes:
                start = time.monotonic()
                program = made(lab, bench.a, bench.b)
                result = inside.attempt(lab, f"round {number + 1}: {made.name}", lambda p=program: bench.measure(p, args.quick))
                if result is None:
                    failed += 1
                    continue
                results[made.name].append(result)
                print(json.dumps({"round": number + 1, "program": made.name, **result}), file=out, flush=True)
                print(f"round {number + 1}: {made.name}: {result['tcp1'] / 1e9:.2f} Gbit/s, "
                      f"{result['udp_pps'] / 1000:.0f} kpps ({time.monotonic() - start:.0f} s)", flush=True)
    names = [c.name for c in classes]
    table(results, names)
    print()
    against(results, names)
    print(f"figures: {args.out}")
    return failed != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--also", action="append", default=[])
    inside.start(parser, perform, "bench.jsonl")


if __name__ == "__main__":
    main()
