# SPDX-License-Identifier: MIT
"""Plan 4.2: the system route for the subnet goes to the tunnel interface, for IPv4 and IPv6, and goes with it.

    h1 (port NAT), h2 (public) -- inet -- server
"""

import json

from govpn import group
from lab import check


def way(computer, address, family="-4"):
    """The interface that the kernel takes towards an address, or None."""
    done = computer.node.run("ip", "-j", family, "route", "get", address, check_code=False)
    return json.loads(done.stdout)[0]["dev"] if done.returncode == 0 and done.stdout else None


def scenario(lab):
    _, (a, b), addresses = group(lab, ["port", "open"])
    net = a.network()
    peer6 = next(iter(a.peers().values()))["ipv6"].split("/")[0]
    check(way(a, addresses[b]) == net["interface"], f"IPv4 goes to {way(a, addresses[b])}")
    check(way(a, peer6, "-6") == net["interface"], f"IPv6 goes to {way(a, peer6, '-6')}")
    check(a.node.ping(peer6), "no ping over IPv6 inside")
    check(way(a, "203.0.113.10") == "eth0", "the default route was touched")
    a.ok("down", net["id"])
    lab.wait(lambda: way(a, addresses[b]) == "eth0", 3, "the route goes with the interface")
    check(way(a, peer6, "-6") is None, "the IPv6 route is left")
    a.ok("up", net["id"])
    lab.wait(lambda: way(a, addresses[b]) == net["interface"], 5, "the route is back")
