# SPDX-License-Identifier: MIT
"""Where packets went: what went into one tunnel interface and did not come out of another must stand in a counter.

Take a Balance while nobody sends, let traffic pass, wait until nothing is on its way, and compare with a second one:

    before = Balance(computers)
    ...
    after = Balance(computers)
    after.settle(before)                 # raises unless every packet is explained
    after.lost(before, a, b)             # of one direction: sent by a's daemon, not delivered by b's

All numbers are inner packets as both daemons count them, so super-packets do not matter. What the path lost is counted by who
waited for it (rx_lost), once the sender has given it up. What the wires of the lab dropped on purpose (node.loss, wire) may be
given as `wire` too: a limit, because one datagram may carry several small packets.
"""

from lab import check

RX_DROPS = ("rx_malformed", "rx_auth", "rx_replay", "rx_sctp", "rx_early", "rx_source", "rx_dest", "rx_bad", "rx_broadcast_limit",
            "rx_tun")
NET_RX_DROPS = ("rx_overflow", "rx_unknown")


class Balance:
    def __init__(self, computers, net_id=None):
        self.own, self.peers, self.dropped = {}, {}, {}
        for one in computers:
            net = one.network(net_id)
            self.own[one] = net["ipv4"].split("/")[0]
            self.dropped[one] = {k: v or 0 for k, v in net["dropped"].items()}
            self.peers[one] = {c["ipv4"].split("/")[0]: c for c in net["computers"] if c["ipv4"] != net["ipv4"]}

    @classmethod
    def zero(cls, computers):
        """As it was when they had just met: for those who left and joined again, whose counters began anew."""
        made = cls.__new__(cls)
        made.own, made.peers, made.dropped = {}, {one: {} for one in computers}, {one: {} for one in computers}
        return made

    def sent(self, a, b):
        """Inner packets that a's daemon has sent to b."""
        return self._of(a, b, "tx_packets")

    def delivered(self, a, b):
        """Inner packets of a that b's daemon has written to its interface."""
        return self._of(b, a, "rx_packets")

    def _of(self, one, other, key):
        peer = self.peers[one].get(self.own.get(other))
        return (peer and peer[key]) or 0

    def _drops(self, one, other, names):
        peer = self.peers[one].get(self.own.get(other))
        return sum(peer["dropped"][n] or 0 for n in names) if peer else 0

    def lost(self, before, a, b):
        """Sent by a's daemon and not delivered by b's."""
        return (self.sent(a, b) - before.sent(a, b)) - (self.delivered(a, b) - before.delivered(a, b))

    def counted(self, before, a, b):
        """What b counted as dropped of what came from a."""
        return self._drops(b, a, RX_DROPS) - before._drops(b, a, RX_DROPS)

    def on_the_way(self, before, a, b):
        """What b counted as sent by a and lost on the way, in buffers of sockets too."""
        return self._of(b, a, "rx_lost") - before._of(b, a, "rx_lost")

    def refused(self, before, one):
        """What the daemon of one did not send: {reason: packets}, all peers together."""
        found = {}
        for name in self.dropped[one]:
            if name.startswith("tx_"):
                more = self.dropped[one][name] - before.dropped[one][name] + sum(
                    (c["dropped"].get(name) or 0) - (before.peers[one].get(address, {"dropped": {}})["dropped"].get(name) or 0)
                    for address, c in self.peers[one].items())
                if more:
                    found[name] = more
        return found

    def unassigned(self, before, one):
        """Datagrams that one dropped before it knew whose they were; a lost one may have carried packets."""
        return sum(self.dropped[one][n] - before.dropped[one][n] for n in NET_RX_DROPS)

    def unexplained(self, before, pairs=None, wire=0):
        """["a -> b: ..."] for each direction where packets are missing (or too many) without a counter that says why."""
        wrong = []
        for a in self.own:
            for b in self.own:
                if a is b or (pairs is not None and (a, b) not in pairs):
                    continue
                lost, counted = self.lost(before, a, b), self.counted(before, a, b)
                may = wire + self.unassigned(before, b) + self.on_the_way(before, a, b)
                if not counted <= lost <= counted + may and not (may and 0 <= lost <= counted + may):
                    wrong.append(f"{a.name} -> {b.name}: {self.sent(a, b) - before.sent(a, b)} sent, {lost} missing, "
                                 f"{counted} counted as dropped, {may} lost on the wire")
        return wrong

    def settle(self, before, pairs=None, wire=0):
        wrong = self.unexplained(before, pairs, wire)
        check(not wrong, "packets without an explanation: " + "; ".join(wrong))
