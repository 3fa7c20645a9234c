# SPDX-License-Identifier: MIT
"""Those who have no key: somebody on the path (tests/support/outsider.c), and floods (tests/support/flood.c); whom they disturb."""

import json
import os
import re
import socket
import struct

from lab import RUN, check, command


def support(name):
    return os.path.join(os.environ["GOVPN_BUILD"], "tests", "support", name)


def write_items(path, items):
    """A file of items (bytes, or (bytes, flags)) as the programs of tests/support read it."""
    with open(path, "wb") as f:
        for item in items:
            data, flags = item if isinstance(item, tuple) else (item, 0)
            f.write(struct.pack("!IB", len(data), flags) + data)


class Asker:
    """A program that takes commands on a Unix socket and answers each."""

    def __init__(self, lab, path):
        self.lab, self.commands, self.asked = lab, path, 0

    def ask(self, line, limit_s=10):
        self.asked += 1
        own = f"{self.commands}.{self.asked}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(own)
            s.settimeout(limit_s * self.lab.slow)
            s.sendto(line.encode(), self.commands)
            answer = s.recv(1 << 16).decode()
        os.unlink(own)
        check(answer != "bad", f"{self.commands} does not know how to {line}")
        return answer


class Outsider(Asker):
    """Somebody on the path of a node, who sees, keeps, changes and repeats everything but has no key."""

    ELSEWHERE, PACKET = 1, 2  # flags of what is injected: from another address; a whole IP packet

    def __init__(self, lab, node):
        super().__init__(lab, f"{RUN}/{node.name}.outsider")
        box = node.cut()
        self.process = box.start(support("outsider"), "in0", "out0", self.commands, log=f"outsider-{node.name}")
        lab.wait(lambda: os.path.exists(self.commands), 5, "the outsider is there")

    def take(self, kind, way):
        """IP packet of the last frame of this kind (data, dtls, stun, answer, tcp) that went this way (in, out); None: none yet."""
        return bytes.fromhex(self.ask(f"take {kind} {way}"))[14:] or None

    def inject(self, items, count=None):
        """Sends datagrams (or other things, by their flags) to the node, and waits until they are out."""
        path = f"{RUN}/items-{self.asked}"
        write_items(path, items)
        before = self.sent()
        self.ask(f"inject {count or len(items)} {path}")
        os.unlink(path)
        self.flush()
        check(self.sent() - before >= (count or len(items)), "not everything was sent")

    def counts(self):
        """(frames sent, frames that wait to be sent, frames recorded)"""
        return [int(n) for n in self.ask("counts").split()]

    def sent(self):
        return self.counts()[0]

    def flush(self, limit_s=60):
        self.lab.wait(lambda: self.counts()[1] == 0, limit_s, "everything was sent")


class Connects:
    """How long links of a computer took to come up, by its log."""

    def __init__(self, lab, me, address):
        self.lab, self.me, self.address, self.log = lab, me, address, open(f"{RUN}/{me.name}-govpnd.log", encoding="utf-8")
        self.log.read()

    def one(self):
        """It goes and comes back; milliseconds from the description to the first packet."""
        self.me.ok("down")
        self.me.ok("up")
        text = [""]

        def up():
            text[0] += self.log.read()
            return re.search(r"peer\.up .*after_ms=(\d+)", text[0])

        found = self.lab.wait(up, 20, "a connection", pause_s=0.01)
        check(text[0].count("peer.up") == 1, "more than one attempt")
        self.lab.wait(lambda: self.me.reaches(self.address, 1), 5, "a ping over the new connection")
        return int(found[1])


def udp_payload(packet):
    """Of an IPv4 packet."""
    return packet[(packet[0] & 15) * 4 + 8:]


def flood_command(node, items_path, rate, count, sources=("198.51.100.1", 250), port=0, target_port=7000):
    """The flood program, to be run in `inet`, against a port of a node with a public address."""
    dev = node.uplink()
    _, end = node.far[dev]
    mac = json.loads(command("ip", "-n", node.name, "-j", "link", "show", dev))[0]["address"]
    address = node.addresses()[dev][0].split("/")[0]
    return [support("flood"), end, items_path, *sources, port, address, target_port, mac, rate, count]
