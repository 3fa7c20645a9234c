#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What each help of the kernel and of the processor is worth: goVPN with all of them, and without one or the other.

usage: offloads.py [--build DIR] [--rounds N] [--seconds S] [--out FILE] [CASE...]

Two namespaces and one veth wire, as in bench.py. Each round measures every case in turn: one TCP stream, 64-byte UDP datagrams
a second with less than 1 % loss and of a flood, and a TCP stream whose SHA-256 is compared at the other end: a case that delivers
one wrong byte fails. Each figure goes to FILE as a JSON line; the table has the medians, and their ratio to the default.
"""

import argparse
import json
import statistics
import time

import inside
import programs  # also says where the lab is
from bench import Bench, machine
from lab import Lab, command
from streams import Stream

HASHED_BYTES = 64 << 20
WIRE_BYTES = 1514

CASES = {
    # name: (environment of the daemons, whether trains are cut on the wire)
    "default": ((), False),
    "datagrams cut on the wire": ((), True),
    "without vnet_hdr": (("GOVPN_TUN_OFFLOAD=none",), False),
    "without GSO": (("GOVPN_UDP_OFFLOAD=gro",), False),
    "without GRO": (("GOVPN_UDP_OFFLOAD=gso",), False),
    "without both": (("GOVPN_UDP_OFFLOAD=none",), False),
    "cut, without both": (("GOVPN_UDP_OFFLOAD=none",), True),
    "EVP for libipsec-mb": (("GOVPN_AEAD=evp",), False),
}
KEYS = (("tcp1", "1 stream Gbit/s", 1e-9, "{:.2f}"), ("udp_pps", "64 B kpps", 1e-3, "{:.0f}"),
        ("udp_flood_pps", "flood kpps", 1e-3, "{:.0f}"))


def sent_outside(node):
    """(frames, bytes) that the node's wire has carried away; a train that is not cut is one."""
    tx = json.loads(command("ip", "-n", node.name, "-s", "-j", "link", "show", "eth0"))[0]["stats64"]["tx"]
    return tx["packets"], tx["bytes"]


def measure(bench, name, quick):
    """Figures of one case, once."""
    environment, cut = CASES[name]
    for node in (bench.a, bench.b):
        node.cut_trains(cut)
    tunnel = programs.Govpn(bench.lab, bench.a, bench.b)
    tunnel.environment = environment
    try:
        to = tunnel.up()["b"]
        bench.lab.wait_ping(bench.a, to, 30)
        hashed = Stream(bench.a, bench.b, to, 6000, HASHED_BYTES)
        hashed.start()
        hashed.join()
        if hashed.wrong:
            raise RuntimeError(f"{name}: {hashed.wrong}")
        before = sent_outside(bench.a)
        result = {"tcp1": bench.iperf(to)[0]}
        frames, size = (after - was for after, was in zip(sent_outside(bench.a), before))
        if cut and size / frames > WIRE_BYTES:
            raise RuntimeError(f"{name}: frames of {size / frames:.0f} bytes were not cut")
        _, got = bench.send_udp(to, 4_000_000, bench.seconds / 2)
        result["udp_flood_pps"] = got / (bench.seconds / 2)
        result["udp_pps"] = bench.udp_pps(to, 0.4 if quick else 1, 3 if quick else 5)
        return result
    finally:
        tunnel.down()


def table(results):
    print("\n| case | " + " | ".join(f"{title} | of default" for _, title, _, _ in KEYS) + " |")
    print("| --- " * (1 + 2 * len(KEYS)) + "|")
    for name, rows in results.items():
        cells = []
        for key, _, scale, form in KEYS:
            value, whole = (statistics.median(r[key] for r in results[n]) if results.get(n) else None for n in (name, "default"))
            cells += ["-", "-"] if value is None else [form.format(value * scale), f"{value / whole:.2f}" if whole else "-"]
        print(f"| {name} | " + " | ".join(cells) + " |")


def perform(args):
    bench = Bench(Lab(), args.seconds)
    results = {name: [] for name in args.names or CASES}
    failed = 0
    with open(args.out, "w", encoding="utf-8") as out:
        print(json.dumps(machine()), file=out)
        for number in range(args.rounds):
            for name, rows in results.items():
                start = time.monotonic()
                result = inside.attempt(bench.lab, f"round {number + 1}: {name}",
                                        lambda n=name: measure(bench, n, args.seconds < 4))
                if result is None:
                    failed += 1
                    continue
                rows.append(result)
                print(json.dumps({"round": number + 1, "case": name, **rows[-1]}), file=out, flush=True)
                print(f"round {number + 1}: {name}: {rows[-1]['tcp1'] / 1e9:.2f} Gbit/s, {rows[-1]['udp_pps'] / 1000:.0f} kpps, "
                      f"SHA-256 right ({time.monotonic() - start:.0f} s)", flush=True)
    table(results)
    print(f"\nfigures: {args.out}")
    return failed != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    inside.start(parser, perform, "offloads.jsonl", CASES)


if __name__ == "__main__":
    main()
