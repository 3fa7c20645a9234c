# SPDX-License-Identifier: MIT
"""The lab itself: every NAT kind maps and filters as RFC 4787 names it.

    h1 .. h7 -- r1 .. r7 (one of each kind) -- inet -- two public machines, a and b
"""

import socket

from lab import check

KINDS = {
    "open": ("none", "endpoint-independent"),
    "cone": ("endpoint-independent", "endpoint-independent"),
    "addr": ("endpoint-independent", "address-dependent"),
    "port": ("endpoint-independent", "address and port-dependent"),
    "sym": ("address and port-dependent", "address and port-dependent"),
    "cgnat": ("endpoint-independent", "address and port-dependent"),
    "dual": ("endpoint-independent", "address and port-dependent"),
    "v6": ("none", "address and port-dependent"),
    "udpblock": ("blocked", "blocked"),
}


def udp(node, address="", port=0):
    with node:
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    s.settimeout(0.3)
    return s


def receive(s):
    try:
        return s.recvfrom(100)
    except TimeoutError:
        return None, None


def probe(host, a1, a2, b1):
    """(mapping, filtering) seen from outside: a1, a2 are two ports of one machine, b1 is another machine."""
    inside = udp(host, "::" if ":" in a1.getsockname()[0] else "")
    seen = []
    for outside in (a1, a2, b1):
        inside.sendto(b"probe", outside.getsockname()[:2])
        seen.append(receive(outside)[1])
    if seen[0] is None:
        return "blocked", "blocked"
    own = {a.split("/")[0] for some in host.addresses().values() for a in some}
    mapping = "address and port-dependent" if len(set(seen)) > 1 else "endpoint-independent"
    if seen[0][0] in own:
        mapping = "none"
    # A fresh socket that has spoken with a1 only: who may answer?
    inside = udp(host, "::" if ":" in a1.getsockname()[0] else "")
    inside.sendto(b"probe", a1.getsockname()[:2])
    to = receive(a1)[1]
    for outside, name in ((b1, "endpoint-independent"), (a2, "address-dependent")):
        outside.sendto(b"answer", to)
        if receive(inside)[0]:
            return mapping, name
    a1.sendto(b"answer", to)
    check(receive(inside)[0], "the answer of the one that was asked does not come back")
    return mapping, "address and port-dependent"


def scenario(lab):
    a, b = lab.public("a", 20), lab.public("b", 21)
    sockets4 = udp(a, "203.0.113.20", 5000), udp(a, "203.0.113.20", 5001), udp(b, "203.0.113.21", 5000)
    sockets6 = udp(a, "2001:db8::20", 5000), udp(a, "2001:db8::20", 5001), udp(b, "2001:db8::21", 5000)
    for kind, want in KINDS.items():
        got = probe(lab.home(kind), *(sockets6 if kind == "v6" else sockets4))
        check(got == want, f"{kind}: {got}, not {want}")
    host = lab.nodes["h2"]
    check(host.ping("203.0.113.10"), "no ping through a NAT")
    host.router.blackhole(True)
    check(not host.ping("203.0.113.10", wait_s=0.3), "a ping through a black hole")
    host.router.blackhole(False)
    check(host.ping("203.0.113.10"), "no ping after the black hole")
    host.carrier(False)
    check(not host.ping("203.0.113.10", wait_s=0.3), "a ping without a cable")
    host.carrier(True)
    lab.restore_routes(host)
    lab.wait_ping(host, "203.0.113.10", 3)
    return f"{len(KINDS)} kinds"
