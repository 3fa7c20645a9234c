# SPDX-License-Identifier: MIT
"""The server's STUN as a reflector: whoever spoofs a source gets little out of it for his victim.

    flood (in inet) -> server;  nobody has the addresses 198.51.100.0/24 that it comes from
"""

import re
import struct

from attacker import flood_command, write_items
from govpn import Server
from lab import RUN, check

TIME_LIMIT_S = 60
LONG_TIME_LIMIT_S = 120

PER_SOURCE_S, FACTOR = 20, 1.5
COUNTER = """table ip reflector { chain i { type filter hook input priority 0;
ip saddr 198.51.100.0/24 counter
}
chain o { type filter hook output priority 0;
ip daddr 198.51.100.0/24 counter
}
}
"""


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def request(*attributes, kind=1):
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), 0x2112A442) + bytes(12) + body


REQUESTS = {
    "smallest": request(),
    "with a user name": request(attribute(6, b"abcd:efgh")),
    "asking for unknown things": request(*(attribute(0x7000 + n, b"") for n in range(20))),
}
# Answers, errors, indications, another method, and what is no STUN.
IGNORED = [request(kind=k) for k in (0x0101, 0x0111, 0x0011, 3)] + [request()[:19], b"\0", b""]


class Reflector:
    def __init__(self, lab, server):
        self.lab, self.node = lab, server.node
        self.node.nft(COUNTER)

    def counters(self):
        """(packets in, bytes in, packets out, bytes out), with IP and UDP headers."""
        listing = self.node.run("nft", "list", "table", "ip", "reflector").stdout
        return [int(n) for found in re.findall(r"packets (\d+) bytes (\d+)", listing) for n in found]

    def flood(self, name, messages, sources, rate, seconds):
        """What came in and went out for so many seconds of these from so many sources."""
        path, before = f"{RUN}/stun-items", self.counters()
        write_items(path, [(m, 2) for m in messages])
        self.lab.inet.run(*flood_command(self.node, path, rate, rate * seconds, sources=("198.51.100.1", sources),
                                         target_port=3478))
        self.lab.wait(lambda: self.counters()[0] - before[0] >= rate * seconds, 5, f"{name}: all requests arrive")
        return [now - then for now, then in zip(self.counters(), before)]


def scenario(lab):
    reflector = Reflector(lab, Server(lab).start())
    seconds, rate = (10, 10000) if lab.long else (2, 2000)
    worst_factor, worst_rate = 0, 0
    for name, message in REQUESTS.items():
        # So few from each that most are answered: size against size.
        _, _, answers, out = reflector.flood(name, [message], 250, 500, 1)
        check(answers > 400, f"{name}: {answers} of 500 answered")
        size = 28 + len(message)
        check(out / answers <= FACTOR * size, f"{name}: answers of {out / answers} bytes to {size}")
        worst_factor = max(worst_factor, out / answers / size)
    for sources in (1, 10):
        _, _, answers, _ = reflector.flood("many", REQUESTS.values(), sources, rate, seconds)
        worst_rate = max(worst_rate, answers / sources / seconds)
        check(worst_rate <= PER_SOURCE_S, f"{worst_rate} answers a second to each of {sources}")
    _, _, answers, _ = reflector.flood("no requests", IGNORED, 250, 2000, 1)
    check(answers == 0, f"{answers} answers to what is no request")
    return f"answers at most {worst_factor:.2f} of the request's bytes, {worst_rate:.1f} a second to one source at {rate}/s"
