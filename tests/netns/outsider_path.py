# SPDX-License-Identifier: MIT
"""Somebody on the path forges STUN, ICMP and TCP RST: traffic never moves to him, nothing shrinks, the tunnel stays.

    h1 (public) == outsider == inet -- server;  h2 (public) -- inet

The outsider's own addresses are 198.51.100.0/24, which nobody has: what h1 sends there is counted.
"""

import os
import re
import socket
import struct
import time

from attacker import Outsider, udp_payload
from govpn import Computer, Pinger, Server, wait_mesh
from lab import check
from packets import ICMP, TCP, checksum, ip4, pack

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 240

REQUEST = 0x0001
USER, INTEGRITY, PRIORITY, USE, CONTROLLED, CONTROLLING = 0x0006, 0x0008, 0x0024, 0x0025, 0x8029, 0x802A
COUNTER = """table ip elsewhere { chain o { type filter hook output priority 0;
ip daddr 198.51.100.0/24 counter
}
chain i { type filter hook input priority 0;
ip saddr 198.51.100.0/24 counter
}
}
"""


def stun(kind, ident, *attributes):
    """A STUN message; attributes are (type, value). No valid integrity: there is no key."""
    body = b"".join(struct.pack("!HH", t, len(v)) + v + b"\0" * (-len(v) % 4) for t, v in attributes)
    return struct.pack("!HHI", kind, len(body), 0x2112A442) + ident + body


def elsewhere(node):
    """(bytes from 198.51.100.0/24, bytes to it) that this node received and sent."""
    listing = node.run("nft", "list", "table", "ip", "elsewhere").stdout
    out, into = (int(n) for n in re.findall(r"bytes (\d+)", listing))
    return into, out


class Scene:
    def __init__(self, lab, me, other, outsider):
        self.lab, self.me, self.other, self.outsider = lab, me, other, outsider
        self.ip, self.other_ip = me.ipv4(), other.ipv4()
        self.path = me.settled_path(self.other_ip)

    def many(self, short, long):
        return long if self.lab.long else short

    def holds(self, what):
        """The path is the old one and works both ways."""
        check(self.me.reaches(self.other_ip, 1) and self.other.reaches(self.ip, 1), f"{what}: the tunnel is broken")
        check(self.me.path(self.other_ip) == self.path, f"{what}: the path is {self.me.path(self.other_ip)}, not {self.path}")

    def fresh(self, way):
        """A STUN request that goes by now; the last one of each way is kept by the outsider."""
        old = self.outsider.take("stun", way)

        def new():
            packet = self.outsider.take("stun", way)
            return packet if packet != old else None

        return udp_payload(self.lab.wait(new, 40, f"a check {way}"))

    def quiet(self, what, before, factor):
        """At most `factor` bytes went to the outsider's addresses for each that came from there."""
        into, out = (now - then for now, then in zip(elsewhere(self.me.node), before))
        check(into > 0 and out <= factor * into, f"{what}: {out} bytes sent for {into} received")
        return out / into

    def stun_replay(self):
        """Real requests again, from other addresses: after they arrived."""
        before, request = elsewhere(self.me.node), self.fresh("in")
        self.outsider.inject([(request, Outsider.ELSEWHERE)], count=self.many(2000, 20000))
        self.outsider.inject([request], count=100)
        self.holds("STUN replay")
        return self.quiet("STUN replay", before, 3)

    def stun_race(self):
        """Real requests and answers from another address, before they arrive from the true one."""
        before = elsewhere(self.me.node)
        self.outsider.ask("race 198.51.100.9")
        pinger = Pinger(self.other.node, self.ip, 0.02)
        for _ in range(self.many(2, 8)):
            self.fresh("in")
        self.outsider.ask("race 0.0.0.0")
        lost, sent = pinger.stop()
        check(lost == 0, f"STUN race: {lost} of {sent} pings lost")
        self.holds("STUN race")
        return self.quiet("STUN race", before, 3)

    def forged_answers(self):
        """Answers to the checks of h1 with a wrong integrity, each before the true one. Who took them would lose consent."""
        self.outsider.ask("forge 1000")
        before = self.outsider.sent()
        if self.lab.long:
            time.sleep(40)
        self.lab.wait(lambda: self.outsider.sent() - before >= 6, 40, "two checks had forged answers")
        self.outsider.ask("forge 0")
        self.holds("forged answers")

    def role_storm(self):
        """Requests that claim either role, with the right user name and a wrong integrity or none."""
        request = self.fresh("in")
        name = dict(attributes(request)).get(USER)
        check(name, f"a check without a user name: {request.hex()}")
        items, before = [], elsewhere(self.me.node)
        for flags in (0, Outsider.ELSEWHERE):
            for role in (CONTROLLED, CONTROLLING):
                for mac in ((), ((INTEGRITY, os.urandom(20)),)):
                    message = stun(REQUEST, os.urandom(12), (USER, name), (role, b"\xff" * 8), (USE, b""),
                                   (PRIORITY, b"\x7e\0\x1e\xff"), *mac)
                    items.append((message, flags))
        self.outsider.inject(items, count=self.many(2000, 20000))
        self.holds("role conflict storm")
        check(elsewhere(self.me.node)[1] == before[1], "a request without integrity was answered")

    def icmp(self):
        """Forged "unreachable", "too big" and "redirect" that quote a datagram of h1."""
        quoted = self.outsider.take("data", "out")[:28]
        mine, gateway = self.path["local"].rsplit(":", 1)[0], "203.0.113.1"
        items = []
        for source in (gateway, self.path["remote"].rsplit(":", 1)[0]):
            messages = [struct.pack("!BBHI", 3, code, 0, 0) for code in range(16)]
            messages += [struct.pack("!BBHHH", 3, 4, 0, 0, mtu) for mtu in (0, 68, 576, 1279)]
            messages += [struct.pack("!BBH4s", 5, code, 0, pack(gateway)) for code in range(4)]
            for head in messages:
                body = head + quoted
                body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
                items.append((ip4(source, mine, body, proto=ICMP), Outsider.PACKET))
        self.me.node.sysctl("net/ipv4/conf/all/accept_redirects", 1)
        pinger = Pinger(self.other.node, self.ip, 0.02)
        self.outsider.inject(items, count=len(items) * self.many(5, 100))
        whole = self.me.node.run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1352", self.other_ip,
                                 check_code=False).stdout
        lost, sent = pinger.stop()
        check(lost == 0, f"forged ICMP: {lost} of {sent} pings lost")
        check(" 3 received" in whole, f"forged ICMP: packets of 1,380 bytes do not pass any more: {whole}")
        self.holds("forged ICMP")
        return len(items)

    def reset(self):
        """RST with the right numbers on the line to the server: signaling comes back, the tunnel hears nothing of it."""
        last = self.outsider.take("tcp", "in")
        head, tcp = (last[0] & 15) * 4, last[(last[0] & 15) * 4:]
        length = struct.unpack("!H", last[2:4])[0] - head - (tcp[12] >> 4) * 4
        sequence = struct.unpack("!I", tcp[4:8])[0] + length + (tcp[13] & 1)
        source, target = socket.inet_ntoa(last[12:16]), socket.inet_ntoa(last[16:20])
        rst = tcp[:4] + struct.pack("!IIBBHHH", sequence & 0xFFFFFFFF, 0, 0x50, 4, 0, 0, 0)
        pseudo = last[12:20] + struct.pack("!BBH", 0, TCP, len(rst))
        rst = rst[:16] + struct.pack("!H", checksum(pseudo + rst)) + rst[18:]
        pinger = Pinger(self.other.node, self.ip, 0.02)
        self.outsider.inject([(ip4(source, target, rst, proto=TCP), Outsider.PACKET)])
        self.lab.wait(lambda: not self.me.network()["server"]["connected"], 5, "the line to the server breaks", 0.005)
        self.lab.wait(lambda: self.me.network()["server"]["connected"], 20, "the line to the server is back")
        lost, sent = pinger.stop()
        check(lost == 0, f"RST: {lost} of {sent} pings lost")
        self.holds("RST")


def attributes(message):
    at, found = 20, []
    while at + 4 <= len(message):
        kind, n = struct.unpack_from("!HH", message, at)
        found.append((kind, message[at + 4:at + 4 + n]))
        at += 4 + n + (-n % 4)
    return found


def scenario(lab):
    server = Server(lab).start()
    me = Computer(lab, lab.public("h1", 101, ipv6=False)).start()
    other = Computer(lab, lab.public("h2", 102, ipv6=False)).start()
    outsider = Outsider(lab, me.node)
    me.node.nft(COUNTER)
    me.node.ip("route add 198.51.100.0/24 via 203.0.113.1")
    other.join(me.create("party", server)["invite"])
    wait_mesh(lab, [me, other])
    scene = Scene(lab, me, other, outsider)
    replay, race = scene.stun_replay(), scene.stun_race()
    scene.forged_answers()
    scene.role_storm()
    forged = scene.icmp()
    scene.reset()
    return f"bytes out per byte in: replay {replay:.2f}, race {race:.2f}; {forged} kinds of ICMP; the path never moved"
