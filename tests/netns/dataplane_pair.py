# SPDX-License-Identifier: MIT
"""Two data planes with fixed keys and nothing else: packets come out as they went in, and are counted exactly.

    h1 (public) -- inet -- h2 (public)        tests/support/dataplane_pair.c on both
"""

import hashlib
import json
import os
import signal
import socket
import threading

from lab import RUN, check

MTU = 1380
BYTES = 10_000_000
SIZES = [0, 1, 2, 3, 7, 100, 511, 1000, 1023, 1351, 1352, 1353, 2000, 5000, 20000, 65507]


class Half:
    def __init__(self, lab, node, side, local, remote, env=None):
        name = f"{node.name}-{len(lab.processes)}"
        self.node, self.log = node, f"{RUN}/{name}.log"
        self.address = {"a": "10.77.0.1", "b": "10.77.0.2"}[side]
        program = os.path.join(os.environ["GOVPN_BUILD"], "tests", "support", "dataplane_pair")
        self.process = node.start(program, side, local, remote, log=name, env={**os.environ, **(env or {})})

    def text(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def end(self):
        """Stops it; its counters."""
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(10) == 0, "the data plane did not end well")
        lines = self.text().splitlines()
        check("down" not in lines and "tun lost" not in lines, "the link went down")
        return json.loads(lines[-1])


def datagrams(lab, a, b, family, address):
    """Every size passes whole, in both directions, also what the kernel cuts into IP fragments."""
    with b.node:
        echo = socket.socket(family, socket.SOCK_DGRAM)
        echo.bind((address[b], 7000))
    with a.node:
        sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.settimeout(2 * lab.slow)
    echo.settimeout(2 * lab.slow)
    for size in SIZES:
        data = os.urandom(size)
        sender.sendto(data, (address[b], 7000))
        got, source = echo.recvfrom(70000)
        check(got == data and source[0] == address[a], f"{size} bytes became {len(got)}")
        echo.sendto(got, source)
        check(sender.recv(70000) == data, f"{size} bytes came back otherwise")
    sender.close()
    echo.close()


def stream(a, b, family, address):
    """One TCP stream; its digest is the same at both ends."""
    with b.node:
        server = socket.create_server((address[b], 7001), family=family)
    received = hashlib.sha256()

    def drain():
        connection, _ = server.accept()
        while data := connection.recv(1 << 20):
            received.update(data)
        connection.close()

    thread = threading.Thread(target=drain)
    thread.start()
    with a.node:
        client = socket.socket(family, socket.SOCK_STREAM)
    client.connect((address[b], 7001))
    data = os.urandom(BYTES)
    client.sendall(data)
    client.close()
    thread.join()
    server.close()
    check(received.digest() == hashlib.sha256(data).digest(), "the stream was changed")


def same_counts(one, other, name):
    check(one["peer"]["tx_" + name] == other["peer"]["rx_" + name],
          f"{one['peer']['tx_' + name]} {name} sent, {other['peer']['rx_' + name]} received")


def no_drops(counters):
    for part in ("net", "peer"):
        dropped = {k: n for k, n in counters[part].items() if n and not k.endswith(("_packets", "_bytes"))}
        check(not dropped, f"dropped: {dropped}")


def told_of_path(node, v4, v6):
    """Packets of 1,380 bytes do not fit an IPv6 path outside: the sending kernel is told so, and cuts from then on."""
    for size, address in ((1352, v4), (1332, v6)):
        done = node.run("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", size, address, check_code=False)
        said = (done.stdout + done.stderr).replace(" ", "")
        check("mtu=1376" in said or "mtu:1376" in said, said)


def pair(lab, one, other, outer, env=None):
    """`outer` names the two addresses outside. Returns how many packets passed."""
    a = Half(lab, one, "a", outer[one], outer[other], env)
    b = Half(lab, other, "b", outer[other], outer[one], env)
    for half in (a, b):
        lab.wait(lambda h=half: "ready" in h.text().splitlines(), 5, "both channels open")
    v4, v6 = {a: "10.77.0.1", b: "10.77.0.2"}, {a: "fd77::1", b: "fd77::2"}
    if ":" in outer[one]:
        told_of_path(one, v4[b], v6[b])
        told_of_path(other, v4[a], v6[a])
    datagrams(lab, a, b, socket.AF_INET, v4)
    datagrams(lab, a, b, socket.AF_INET6, v6)
    stream(a, b, socket.AF_INET, v4)
    stream(b, a, socket.AF_INET6, v6)
    check(not one.ping("10.77.0.3"), "somebody answers for a computer that is not there")
    # What the kernel sends last (FIN, ACK) may still be on its way.
    one.ping(v4[b])
    at_a, at_b = a.end(), b.end()
    check(at_a["net"].pop("tx_no_peer") == 1, "the packet to nobody is not counted")
    for name in ("packets", "bytes"):
        same_counts(at_a, at_b, name)
        same_counts(at_b, at_a, name)
    for counters in (at_a, at_b):
        counters["net"].pop("rx_unknown")  # the other one may have spoken first
        too_big = counters["peer"].pop("tx_too_big")
        check(too_big == (2 if ":" in outer[one] else 0), f"{too_big} packets were too big")
        no_drops(counters)
    return at_a["peer"]["tx_packets"] + at_b["peer"]["tx_packets"]


def small_path(lab, one, other, outer):
    """The cards take 1,400 bytes only: what does not fit is refused or cut, and everything else passes."""
    for node in (one, other):
        node.ip(f"link set {node.uplink()} mtu 1400")
    a = Half(lab, one, "a", outer[one], outer[other])
    b = Half(lab, other, "b", outer[other], outer[one])
    for half in (a, b):
        lab.wait(lambda h=half: "ready" in h.text().splitlines(), 5, "both channels open")
    stream(a, b, socket.AF_INET, {a: "10.77.0.1", b: "10.77.0.2"})
    stream(b, a, socket.AF_INET6, {a: "fd77::1", b: "fd77::2"})
    ping = one.run("ping", "-n", "-c", "1", "-M", "do", "-s", "1352", "10.77.0.2", check_code=False)
    said = (ping.stdout + ping.stderr).replace(" ", "")
    check("mtu=1160" in said, said)  # from the ICMP answer now, or from one that the kernel remembers
    check(one.ping("10.77.0.2", wait_s=2), "a small packet did not pass")
    a.end()
    b.end()


def scenario(lab):
    one, other = lab.home("open"), lab.home("open")
    ip4 = {one: "203.0.113.101", other: "203.0.113.102"}
    ip6 = {one: "2001:db8::101", other: "2001:db8::102"}
    packets = pair(lab, one, other, ip4)
    packets += pair(lab, one, other, ip6)
    # Without what newer kernels and better cards do for us.
    packets += pair(lab, one, other, ip4, {"GOVPN_UDP_OFFLOAD": "none", "GOVPN_TUN_OFFLOAD": "none"})
    packets += pair(lab, one, other, ip4, {"GOVPN_UDP_OFFLOAD": "gro", "GOVPN_TUN_OFFLOAD": "tso"})
    small_path(lab, one, other, ip4)
    return f"{packets} packets, none lost or changed"
