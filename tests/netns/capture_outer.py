# SPDX-License-Identifier: MIT
"""Outside there are STUN and DTLS only, and nothing of what is said inside.

    h1 -- r1 (port NAT), h2 -- r2 (cone NAT) -- inet -- server
"""

import re
import secrets
import socket

from capture import Capture
from govpn import Computer, Server, wait_mesh
from lab import SERVER_IPV4, check


def scenario(lab):
    server = Server(lab).start()
    a, b = Computer(lab, lab.home("port")).start(), Computer(lab, lab.home("cone")).start()
    outside = [Capture(lab.inet, port) for port in ("p-r1", "p-r2", "p-server")]
    b.join(a.create("quiet", server)["invite"])
    addresses = wait_mesh(lab, [a, b])
    tunnel = Capture(a.node, a.network()["interface"], ethernet=False)
    marker = secrets.token_bytes(32)
    with a.node:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(marker, (addresses[b], 4000))
    lab.wait(lambda: tunnel.has(marker), 3, "the marker is seen inside")
    # ping hardly waits for its last ones, which are more than are needed.
    done = a.node.run("ping", "-n", "-q", "-f", "-c", "510", "-s", "1000", addresses[b])
    check(int(re.search(r"(\d+) received", done.stdout)[1]) >= 500, done.stdout)
    check(sum(c.stop() for c in (*outside, tunnel)) == 0, "the captures are not complete")
    between = [d for c in outside[:2] for d in c.datagrams() if SERVER_IPV4 not in (d.source[0], d.target[0])]
    strange = [d for d in between if not d.is_stun() and not d.is_dtls()]
    check(not strange, f"{len(strange)} strange payloads, first {strange[:1] and strange[0].payload[:32].hex()}")
    check(sum(d.is_dtls() for d in between) >= 2000, "the tunnel's packets are not in the capture")
    check(not any(c.has(marker) for c in outside), "the marker is outside in the clear")
    check(not any(c.has(b"quiet") for c in outside[:2]), "the network's name is outside in the clear")
    return f"{len(between)} payloads: {sum(map(lambda d: d.is_stun(), between))} STUN, the rest DTLS"
