# SPDX-License-Identifier: MIT
"""Somebody on the path repeats, changes, cuts and forges records of a live tunnel: none counts twice, none ends it.

    h1 (public) == outsider == inet -- server;  h2 (public, sends numbered packets) -- inet

Records of the association before are repeated as well: a daemon that starts anew has new keys.
"""

import struct

from attacker import Outsider
from govpn import Computer, Server, wait_mesh
from lab import RUN, check
from numbered import Seen, good
from rogue import Rogue, dropped

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 600


class Victim:
    """The computer behind the outsider, and what it counts."""

    def __init__(self, me, sender):
        self.me, self.sender = me, sender
        self.ip, self.sender_ip = me.ipv4(), sender.ipv4()

    def counts(self):
        """Drops by reason, of the network and of the sender together."""
        net = self.me.network()["dropped"]
        return {k: (net[k] or 0) + (n or 0) for k, n in dropped(self.me, self.sender_ip).items()}

    def ends(self):
        """How many links ended so far."""
        with open(f"{RUN}/{self.me.name}-govpnd.log", encoding="utf-8", errors="replace") as f:
            return sum("link.end" in line for line in f)

    def rises(self, lab, before, names, number, what):
        """These counters rise by `number` together, and no other does."""
        def rise(chosen):
            now = self.counts()
            return sum(now[n] - before[n] for n in now if n.startswith("rx_") and chosen(n))

        lab.wait(lambda: rise(lambda n: n in names) >= number, 10, f"{what}: {number} counted ({before}, {self.counts()})")
        got, others = rise(lambda n: n in names), rise(lambda n: n not in names)
        check(got == number and others == 0, f"{what}: {got} of {number} counted in {names}, {others} elsewhere: "
                                             f"{before}, {self.counts()}")


def each_once(seen, number, what):
    _, numbers = seen.end()
    check(len(numbers) == number, f"{what}: {len(numbers)} of {number} arrived")
    check(set(numbers.values()) == {1}, f"{what}: {sum(n > 1 for n in numbers.values())} arrived more than once")


def replay(lab, victim, outsider, number):
    """Every record again, once to ten times, at once; and later all of them again."""
    before, sent, seen = victim.counts(), outsider.sent(), Seen(victim.me)
    outsider.ask("rate 30000")
    outsider.ask(f"record {number} 1 10")
    packets = good(number, victim.sender_ip, victim.ip)
    check(victim.sender.send("inner", victim.ip, packets, rate=2500, limit_s=120) == number, "not all packets were sent")
    outsider.flush()
    lab.wait(lambda: outsider.counts()[2] == number, 10, "every record was kept")
    at_once = outsider.sent() - sent
    outsider.ask("again 1")
    outsider.flush()
    victim.rises(lab, before, ["rx_replay"], at_once + number, "replay")
    each_once(seen, number, "replay")
    return at_once + number


def old_session(lab, victim, outsider, number):
    """The records of an association under the keys of the one that followed."""
    victim.me.stop()
    victim.me.start()
    victim.me.wait_reaches(victim.sender_ip, 20)
    victim.sender.wait_reaches(victim.ip)
    victim.me.settled_path(victim.sender_ip)
    before, ends = victim.counts(), victim.ends()
    outsider.ask("again 1")
    outsider.flush()
    victim.rises(lab, before, ["rx_auth", "rx_replay"], number, "old session")
    check(victim.ends() == ends, "a session ended")


def flips(lab, victim, outsider, number):
    """Each bit of so many records changed, each of them cut at every byte and joined: only itself counts, once."""
    before, seen = victim.counts(), Seen(victim.me)
    sent = outsider.sent()
    outsider.ask("rate 40000")
    outsider.ask(f"flip {number}")
    packets = good(number, victim.sender_ip, victim.ip)
    check(victim.sender.send("inner", victim.ip, packets, rate=30, limit_s=200) == number, "not all packets were sent")
    lab.wait(lambda: outsider.sent() - sent > number * 100, 10, "records were changed")
    outsider.flush()
    frames = outsider.sent() - sent

    def counted():
        after = victim.counts()
        return sum(after[n] - before[n] for n in after if n.startswith("rx_"))

    # One of them looks like a repeated Finished, which is for the handshake to judge; some count as two broken records.
    lab.wait(lambda: counted() >= frames - number, 10, f"{frames} changed records are counted ({counted()} are)")
    each_once(seen, number, "flips")
    return frames


def alerts(lab, victim, outsider):
    """Alerts in plain text, of every level and description; nobody who has no key may end a session."""
    def record(kind, epoch, sequence, body):
        return struct.pack("!BHHHIH", kind, 0xFEFD, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(body)) + body

    items = [record(21, epoch, sequence, bytes([level, what])) for epoch in (0, 1, 2) for sequence in (0, 5, 1 << 40)
             for level in (1, 2) for what in range(256)]
    before = victim.counts()
    outsider.inject(items)
    victim.rises(lab, before, ["rx_malformed", "rx_auth"], len(items), "alerts")
    return len(items)


def scenario(lab):
    server = Server(lab).start()
    me = Computer(lab, lab.public("h1", 101, ipv6=False), options=("--udp-port", "7000")).start()
    sender = Rogue(lab, lab.public("h2", 102, ipv6=False), options=("--udp-port", "7000")).start()
    outsider = Outsider(lab, me.node)
    sender.join(me.create("party", server)["invite"])
    wait_mesh(lab, [me, sender])
    victim = Victim(me, sender)
    ends, path = victim.ends(), me.settled_path(victim.sender_ip)
    replayed = replay(lab, victim, outsider, 100000 if lab.long else 5000)
    forged = alerts(lab, victim, outsider)
    changed = flips(lab, victim, outsider, 1000 if lab.long else 20)
    check(victim.ends() == ends, "a session ended")
    check(me.path(victim.sender_ip) == path and me.reaches(victim.sender_ip), "the path changed")
    old_session(lab, victim, outsider, outsider.counts()[2])
    return f"{replayed} records repeated, {forged} alerts forged, {changed} changed: nothing twice, no session ended"
