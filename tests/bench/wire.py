#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""TCP through goVPN against TCP on the bare wire, over a line with delay, loss, reordering and duplication.

usage: wire.py [--build DIR] [--runs N] [--seconds S] [--control cubic|bbr|...] [--out FILE] [CASE...]

Two namespaces and a user-space wire (tests/support/wire.c) of 200 Mbit/s. Each run is one TCP stream on the bare wire and one
through the tunnel, in turns, over wires of the same seed. Each figure goes to FILE as a JSON line. The last line of a case: the
medians and their ratio. In every case 1,000 numbered datagrams tell how many were delivered twice.
"""

import argparse
import json
import statistics
import time

import inside

RATE = "rate=200000"
CASES = {
    # name: options of the wire; delay is one way
    "20ms": ("delay=10",),
    "100ms": ("delay=50",),
    "20ms-loss0.1": ("delay=10", "loss=0.1"),
    "20ms-loss1": ("delay=10", "loss=1"),
    "100ms-loss0.1": ("delay=50", "loss=0.1"),
    "100ms-loss1": ("delay=50", "loss=1"),
    "20ms-reorder1": ("delay=10", "reorder=1"),
    "20ms-jitter2": ("delay=10", "jitter=2"),
    "20ms-dup2": ("delay=10", "dup=2"),
}


class Wire:
    def __init__(self, lab, seconds):
        self.lab, self.seconds, self.process = lab, seconds, None
        self.a, self.b, self.box = lab.node("a"), lab.node("b"), lab.node("w")
        self.box.sysctl("net/ipv6/conf/all/disable_ipv6", 1)
        lab.veth(self.a, "eth0", self.box, "in0")
        lab.veth(self.box, "out0", self.b, "eth0")
        self.box.ip("link set in0 up", "link set out0 up")
        for node, address in ((self.a, "10.99.0.1"), (self.b, "10.99.0.2")):
            node.ip(f"addr add {address}/24 dev eth0", "link set eth0 up gso_max_segs 1")
        self.program = lab.build_tool("wire")

    def start(self, options, seed):
        self.stop()
        self.process = self.box.start(self.program, "in0", "out0", *options, RATE, "queue=50", f"seed={seed}", log="wire")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def tcp_bps(self, address):
        server = self.b.start("iperf3", "-s", "-1", "-B", address, log="iperf3")
        self.lab.wait(lambda: f"{address}:5201" in self.b.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
        done = self.a.run("iperf3", "-J", "-c", address, "-t", self.seconds, timeout_s=self.seconds + 30)
        server.wait(30)
        end = json.loads(done.stdout)["end"]
        return end["sum_received"]["bits_per_second"]

    def duplicates(self, address):
        """1,000 echo requests: answers that came more than once."""
        out = self.a.run("ping", "-n", "-i", "0.002", "-c", "1000", "-W", "1", address, check_code=False).stdout
        return out.count("(DUP!)")


def perform(args):
    import programs
    from lab import Lab

    lab = Lab()
    wire = Wire(lab, args.seconds)
    wire.start(("delay=1",), 1)
    lab.wait_ping(wire.a, "10.99.0.2", 10)
    tunnel = programs.Govpn(lab, wire.a, wire.b)
    inner = tunnel.up()["b"]
    lab.wait_ping(wire.a, inner, 30)
    if args.control:
        for node in (wire.a, wire.b):
            node.sysctl("net/ipv4/tcp_congestion_control", args.control)
    control = wire.a.run("sysctl", "-n", "net.ipv4.tcp_congestion_control").stdout.strip()
    print(f"congestion control of the inner and of the bare TCP: {control}")
    with open(args.out, "w", encoding="utf-8") as out:
        for name in args.names or CASES:
            results = {"bare": [], "goVPN": []}
            for run in range(args.runs):
                for kind, address in (("bare", "10.99.0.2"), ("goVPN", inner)):
                    wire.start(CASES[name], run + 1)
                    lab.wait_ping(wire.a, address, 30)
                    results[kind].append(wire.tcp_bps(address))
                    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "case": name, "run": run + 1, "kind": kind,
                                      "seconds": args.seconds, "bps": results[kind][-1], "control": control}),
                          file=out, flush=True)
            wire.start(CASES[name], 99)
            twice = wire.duplicates(inner)
            bare, ours = (statistics.median(results[k]) for k in ("bare", "goVPN"))
            print(f"{name}: bare {bare / 1e6:.1f}, goVPN {ours / 1e6:.1f} Mbit/s, ratio {ours / bare:.3f} "
                  f"(medians of {args.runs}); {twice} of 1000 pings answered twice", flush=True)
    tunnel.down()
    wire.stop()
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--control", help="congestion control of both TCPs instead of the system's")
    inside.start(parser, perform, "bench-wire.jsonl", CASES)


if __name__ == "__main__":
    main()
