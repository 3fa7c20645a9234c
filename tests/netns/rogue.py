# SPDX-License-Identifier: MIT
"""A member that lies: govpnd with another packet thread (tests/support/rogue_member.c), and what to have it send."""

import os
import struct

from attacker import Asker, support, write_items
from govpn import Computer
from lab import RUN

OWN_TSN, PEER_LAST, OWN_LAST = 1, 2, 4  # flags of an item: rogue_member.c


class Rogue(Computer):
    def __init__(self, lab, node, name=None, options=()):
        super().__init__(lab, node, name, options)
        self.asker = Asker(lab, f"{RUN}/{self.name}.rogue")
        self.ask = self.asker.ask
        self.wrap = ("env", f"GOVPN_ROGUE={self.asker.commands}")

    def command(self):
        return [*self.wrap, support("rogue_member"), *super().command()[len(self.wrap) + 1:]]

    def send(self, kind, peer, items, rate=10000, count=None, limit_s=60):
        """Sends `items` (bytes, or (bytes, flags)) to the peer with this tunnel address; returns how many were sent."""
        path = f"{RUN}/{self.name}-{kind}-{self.asker.asked}"
        write_items(path, items)
        limit_s = int(limit_s * self.lab.slow)
        sent = int(self.ask(f"send {kind} {peer} {rate} {count or len(items)} {limit_s} {path}", limit_s + 10))
        os.unlink(path)
        return sent


def chunk(kind, flags, body):
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + b"\0" * (-len(body) % 4)


def data_chunk(stream, payload, ppid=53, flags=7, ssn=0):
    """DATA; its TSN is put in by the rogue (OWN_TSN)."""
    return chunk(0, flags, struct.pack("!IHHI", 0, stream, ssn, ppid) + payload)


def sack(ahead=0, window=1 << 20, gaps=(), duplicates=()):
    """SACK that acknowledges `ahead` TSNs more than arrived (PEER_LAST)."""
    body = struct.pack("!IIHH", ahead & 0xFFFFFFFF, window, len(gaps), len(duplicates))
    body += b"".join(struct.pack("!HH", *g) for g in gaps) + b"".join(struct.pack("!I", d) for d in duplicates)
    return chunk(3, 0, body), PEER_LAST


def dropped(computer, address, net_id=None):
    """Counters of drops that `computer` has about the peer with this address."""
    return computer.peers(net_id)[address]["dropped"]
