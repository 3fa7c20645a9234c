# SPDX-License-Identifier: MIT
"""A server that works for a removed member: it refuses the removal, is away, hides the newer document, plays the old one again to a
member that restarts, and lets him in with a new session, with a new key and the old invite. Nobody takes a packet of him.

    h1 "anna" (owner), h2 "bert", h3 "carl", h4 "dave" (public) -- inet -- server: Middle :8443 -> govpn-server :9000
"""

import json
import os
import re
import shutil
import sys
import time

from govpn import NO_SERVER, Computer, Server, wait_mesh
from innerflow import Arrivals, Sender
from lab import RUN, SERVER_IPV4, check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from hostile import Accomplice, Middle, Tamper, reply
from sigclient import Network, unb64

TIME_LIMIT_S = 120
PORT, REAL_PORT = 8443, 9000
ONLINE_S, BACK_S = 5, 60  # a removal holds this soon; this soon after the server is back
WATCH_S = 2


class Veto(Tamper):
    """No document of the owner reaches the server; it refuses each."""

    def to_server(self, middle, line, m):
        if m["type"] != "UpdateDocument":
            return m
        line.say(reply(m, "Error", code="stale_document", message="no"))
        return None


class Bed:
    def __init__(self, lab):
        self.lab = lab
        url = f"http://{SERVER_IPV4}:{PORT}"
        self.server = Server(lab, port=REAL_PORT, tls="off", options=("--public-url", url)).start()
        self.middle = Middle(lab.server, SERVER_IPV4, PORT, (SERVER_IPV4, REAL_PORT))
        self.all = [Computer(lab, lab.home("open"), name=name).start() for name in ("anna", "bert", "carl", "dave")]
        self.anna, self.bert, self.carl, self.dave = self.all
        front = Server(lab, tls="off")
        front.url = url
        made = self.anna.create("party", front)
        self.net, self.link = made["id"], made["invite"]
        for c in self.all[1:]:
            self.join(c, self.link)
        wait_mesh(lab, self.all)
        for c in self.all:
            self.learn(c)
        self.arrivals = {c: Arrivals(c.node) for c in (self.anna, self.bert)}

    @staticmethod
    def join(c, link):
        return c.ok("join", "--insecure", link).json()

    @staticmethod
    def learn(c):
        status = c.network()
        c.key, c.ip = status["self"]["id"], status["ipv4"].split("/")[0]
        c.label = status["self"]["label"]

    def epoch(self, c):
        """On the disk."""
        with open(f"{c.state}/networks.json", encoding="utf-8") as f:
            return Network.of(unb64(json.load(f)["networks"][0]["document"]), None).epoch

    def kick(self, c):
        return self.anna.run("kick", self.net, c.label)

    def cut(self, outlaw, members, limit_s, since):
        """All of them cut him: none knows him any more. How long it took."""
        for c in members:
            self.lab.wait(lambda c=c: outlaw.ip not in c.peers(), limit_s, f"{c.name} cuts {outlaw.name}")
        return time.monotonic() - since

    def nothing_of(self, address, what):
        """From now on no packet of this address is taken."""
        before = [a.of(address) for a in self.arrivals.values()]
        time.sleep(WATCH_S)
        more = [a.of(address) - b for a, b in zip(self.arrivals.values(), before)]
        check(not any(more), f"{what}: {more} packets were taken")


def vetoed(bed):
    """The server refuses the removal of dave. The others hear of it from anna."""
    bed.middle.tamper = Veto()
    since = time.monotonic()
    result = bed.kick(bed.dave)
    check(result.code != 0 and "the others hear of it" in result.out + result.err, f"a refused removal: {result}")
    took = bed.cut(bed.dave, [bed.anna, bed.bert, bed.carl], ONLINE_S, since)
    sender = Sender(bed.dave.node, bed.bert.ip)
    bed.nothing_of(bed.dave.ip, "dave, whom the server keeps")
    sender.stop()
    bed.dave.stop()
    bed.middle.tamper = Tamper()
    return took


def unheard(bed):
    """The server is down while dave, who came again, is removed. It hears of it when it is back."""
    shutil.rmtree(bed.dave.state)
    bed.dave.start()
    bed.link = bed.anna.ok("invite", bed.net).json()["invite"]
    bed.join(bed.dave, bed.link)
    bed.learn(bed.dave)
    members = bed.anna, bed.bert, bed.carl
    for c in members:
        c.wait_reaches(bed.dave.ip, 20)
    bed.server.kill9()
    since = time.monotonic()
    result = bed.kick(bed.dave)
    check(result.code == NO_SERVER and "the others hear of it" in result.out + result.err, f"a removal without the server: {result}")
    took = bed.cut(bed.dave, members, ONLINE_S, since)
    bed.nothing_of(bed.dave.ip, "dave, removed without the server")
    bed.dave.stop()
    bed.server.start()

    def told():
        bed.bert.ok("down")
        bed.bert.ok("up")
        return Network.of(unb64(bed.middle.connected[bed.bert.key]["document"]), None).epoch == bed.epoch(bed.anna)
    bed.lab.wait(told, BACK_S, "the server is told")
    bed.bert.wait_reaches(bed.anna.ip, 20)
    bed.bert.wait_reaches(bed.carl.ip, 20)
    return took


def withheld(bed):
    """carl is removed while bert is away. bert gets the old document and meets anna, who has the newer one."""
    old = bed.middle.connected[bed.dave.key]  # the last who joined: it names all
    bed.bert.ok("down")
    bed.middle.tamper = bed.plot = Accomplice(bed.carl.key, bed.carl.ip, old, [bed.bert.key])
    check(bed.kick(bed.carl).code == 0, "the kick")
    bed.cut(bed.carl, [bed.anna], ONLINE_S, 0)
    bed.sender = Sender(bed.carl.node, bed.bert.ip), Sender(bed.carl.node, bed.anna.ip)
    bed.bert.ok("up")
    bed.plot.announce(bed.middle)
    bed.bert.wait_reaches(bed.anna.ip)
    since = time.monotonic()
    took = bed.cut(bed.carl, [bed.bert], ONLINE_S, since)
    bed.nothing_of(bed.carl.ip, "carl, after bert met anna")
    return took


def replayed(bed):
    """bert is killed and gets the old document again; carl comes with a new session and his banned key."""
    before = bed.epoch(bed.bert)
    bed.carl.kill9()
    bed.carl.start()
    bed.bert.kill9()
    bed.bert.start()
    bed.bert.wait_reaches(bed.anna.ip, 20)
    bed.lab.wait(lambda: bed.bert.key in bed.middle.lines and bed.carl.key in bed.middle.lines, 10, "both are connected")
    bed.plot.announce(bed.middle)
    bed.nothing_of(bed.carl.ip, "carl with a new session")
    with open(f"{RUN}/bert-govpnd.log", encoding="utf-8", errors="replace") as f:
        epochs = [int(n) for n in re.findall(r"network\.document network=\S+ epoch=(\d+)", f.read())]
    check(epochs and epochs == sorted(epochs), f"bert took documents in this order: {epochs}")
    check(bed.epoch(bed.bert) == before, f"the epoch on bert's disk went from {before} to {bed.epoch(bed.bert)}")
    check(bed.carl.ip not in bed.bert.peers() and bed.carl.ip not in bed.anna.peers(), "carl is in a list again")
    check(not any(bed.carl.ip == c["ipv4"] for c in bed.bert.network()["computers"]), "bert lists carl")


def new_key(bed):
    """carl with a new key and the old invite, whose document the server still plays to him."""
    for s in bed.sender:
        s.stop()
    bed.carl.stop()
    shutil.rmtree(bed.carl.state)
    bed.carl.start()
    old = bed.plot.old

    class Newcomer(Accomplice):
        def to_server(self, middle, line, m):
            if m["type"] == "JoinNetwork":
                self.outlaw = line.key
            return super().to_server(middle, line, m)
    bed.middle.tamper = bed.plot = Newcomer("", bed.carl.ip, old, [bed.bert.key])
    bed.carl.ok("join", "--insecure", bed.link)
    check(bed.plot.outlaw != bed.carl.key, "the key is the old one")
    senders = Sender(bed.carl.node, bed.bert.ip), Sender(bed.carl.node, bed.anna.ip)
    bed.plot.announce(bed.middle)
    bed.nothing_of(bed.carl.ip, "carl with a new key")
    check(bed.carl.ip not in bed.bert.peers() and bed.carl.ip not in bed.anna.peers(), "carl's new key is in a list")
    for s in senders:
        s.stop()


def server_away(bed):
    """bert sees neither anna nor the newer document; he cuts the removed one when the server is back."""
    bed.middle.tamper = Tamper()
    bed.carl.stop()
    shutil.rmtree(bed.carl.state)
    bed.carl.start()
    bed.join(bed.carl, bed.anna.ok("invite", bed.net).json()["invite"])
    bed.learn(bed.carl)
    bed.bert.wait_reaches(bed.carl.ip, 20)
    card = json.loads(bed.anna.node.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
    bed.bert.node.drop("owner", f"ether saddr {card}", "in")  # both are on the bridge of the inet
    old = bed.middle.connected[bed.carl.key]
    bed.middle.tamper = bed.plot = Accomplice(bed.carl.key, bed.carl.ip, old, [bed.bert.key])
    check(bed.kick(bed.carl).code == 0, "the kick")
    check(bed.bert.reaches(bed.carl.ip), "bert was to be the one who does not know")
    bed.server.kill9()
    time.sleep(1)
    bed.middle.tamper = Tamper()
    bed.server.start()
    since = time.monotonic()
    return bed.cut(bed.carl, [bed.bert], BACK_S, since)


def scenario(lab):
    bed = Bed(lab)
    refused, alone, met = vetoed(bed), unheard(bed), withheld(bed)
    replayed(bed)
    new_key(bed)
    back = server_away(bed)
    return f"cut after {refused:.2f} s against the server's will, {alone:.2f} s without it, {met:.2f} s after a meeting, {back:.1f} s after the server is back"
