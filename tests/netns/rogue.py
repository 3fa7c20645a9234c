# SPDX-License-Identifier: MIT
"""A member that lies: govpnd with another packet thread (tests/support/rogue_member.c), and what to have it send."""

import os
import socket
import struct
import threading

from govpn import Computer
from lab import RUN, check

OWN_TSN, PEER_LAST, OWN_LAST = 1, 2, 4  # flags of an item: rogue_member.c


class Rogue(Computer):
    def __init__(self, lab, node, name=None, options=()):
        super().__init__(lab, node, name, options)
        self.commands = f"{RUN}/{self.name}.rogue"
        self.wrap = ("env", f"GOVPN_ROGUE={self.commands}")
        self.asked = 0

    def command(self):
        program = os.path.join(os.environ["GOVPN_BUILD"], "tests", "support", "rogue_member")
        return [*self.wrap, program, *super().command()[len(self.wrap) + 1:]]

    def ask(self, line, limit_s=10):
        self.asked += 1
        own = f"{self.commands}.{self.asked}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(own)
            s.settimeout(limit_s * self.lab.slow)
            s.sendto(line.encode(), self.commands)
            answer = s.recv(100).decode()
        os.unlink(own)
        check(answer != "bad", f"the rogue does not know how to {line}")
        return answer

    def send(self, kind, peer, items, rate=10000, count=None, limit_s=60):
        """Sends `items` (bytes, or (bytes, flags)) to the peer with this tunnel address; returns how many were sent."""
        path = f"{RUN}/{self.name}-{kind}-{self.asked}"
        with open(path, "wb") as f:
            for item in items:
                data, flags = item if isinstance(item, tuple) else (item, 0)
                f.write(struct.pack("!IB", len(data), flags) + data)
        limit_s = int(limit_s * self.lab.slow)
        sent = int(self.ask(f"send {kind} {peer} {rate} {count or len(items)} {limit_s} {path}", limit_s + 10))
        os.unlink(path)
        return sent

    def send_aside(self, *args, **more):
        """The same in a thread of its own, which is returned."""
        thread = threading.Thread(target=self.send, args=args, kwargs=more)
        thread.start()
        return thread


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


def rss_kib(process):
    """Memory of a daemon in KiB."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def dropped(computer, address, net_id=None):
    """Counters of drops that `computer` has about the peer with this address."""
    return computer.peers(net_id)[address]["dropped"]
