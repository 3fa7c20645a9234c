# SPDX-License-Identifier: MIT
"""Congestion is told without loss to those who understand it: a queue in front of a slow interface marks inner packets (ECN,
RFC 3168), TCP slows down, and nothing is dropped. Packets that cannot be marked are dropped.

    h1 (public, 20 Mbit/s) -- inet -- h2 (public)
"""

import json

from capture import VNET_HDR, Capture
from govpn import group
from lab import check
from packets import TCP
from segments import is_4, is_intact, of, on_wire, transport

TIME_LIMIT_S = 90
ALONE = True
RATE_MBIT, SECONDS = 20, 3
CE = 3
ECE, CWR = 0x40, 0x80


def codepoint(packet):
    return packet[1] & 3 if is_4(packet) else packet[1] >> 4 & 3


def stream(lab, a, b, address):
    """(Mbit/s, segments sent again) of one TCP stream."""
    server = b.node.start("iperf3", "-s", "-1", "-B", address, log="iperf3")
    lab.wait(lambda: ":5201" in b.node.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
    end = json.loads(a.node.run("iperf3", "-J", "-c", address, "-t", SECONDS, "-C", "cubic", timeout_s=SECONDS + 30).stdout)["end"]
    server.wait(20)
    return end["sum_received"]["bits_per_second"] / 1e6, end["sum_sent"]["retransmits"]


def run(lab, a, b, address, source):
    """One stream while both TUNs are looked at. Returns figures."""
    inside = [Capture(c.node, c.network()["interface"], keep=lambda f: transport(f[VNET_HDR:])[0] == TCP, ethernet=False)
              for c in (a, b)]
    before = a.peers()[b.ipv4()]["dropped"].get("tx_queue") or 0
    mbit, again = stream(lab, a, b, address)
    dropped = (a.peers()[b.ipv4()]["dropped"].get("tx_queue") or 0) - before
    check(sum(c.stop() for c in inside) == 0, "the captures are not complete")
    sent, got, back = of(inside[0].frames, source), of(inside[1].frames, source), of(inside[0].frames, address)
    marked = [p for f in got for p in on_wire(f) if codepoint(p) == CE]
    check(not any(codepoint(f[VNET_HDR:]) == CE for f in sent), "packets were marked before they came to the daemon")
    check(all(is_intact(p) for p in marked), "a marked packet has a wrong checksum")

    def with_flag(frames, flag):
        return sum(bool(f[VNET_HDR + transport(f[VNET_HDR:])[1] + 13] & flag) for f in frames)
    return {"mbit": mbit, "again": again, "dropped": dropped, "marked": len(marked), "ece": with_flag(back, ECE),
            "cwr": with_flag(sent, CWR)}


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    a.node.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", f"{RATE_MBIT}mbit", "burst", "32kb", "latency", "400ms")
    six = [c.network()["ipv6"].split("/")[0] for c in (a, b)]
    lines = []
    for name, source, target, ecn in (("IPv4", addresses[a], addresses[b], 1), ("IPv6", *six, 1), ("without ECN", addresses[a], addresses[b], 0)):
        for c in (a, b):
            c.node.sysctl("net/ipv4/tcp_ecn", ecn)
        got = run(lab, a, b, target, source)
        lines.append(f"{name}: {got['mbit']:.1f} Mbit/s, {got['marked']} marked, {got['dropped']} dropped, {got['again']} sent again")
        check(got["mbit"] > 0.8 * RATE_MBIT, lines[-1])
        if ecn:
            check(got["marked"] > 0 and got["ece"] > 0 and got["cwr"] > 0, f"{name}: nothing was told: {got}")
            check(got["dropped"] == 0 and got["again"] == 0, f"{name}: told by loss: {got}")
        else:
            check(got["marked"] == 0 and got["dropped"] > 0, f"{name}: {got}")
    return "; ".join(lines)
