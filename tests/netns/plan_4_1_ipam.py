# SPDX-License-Identifier: MIT
"""Plan 4.1: a subnet per network, the next free address, given back on leave.

    h1 .. h7 -- inet -- server
"""

import ipaddress

from govpn import Computer, Server, CONFLICT
from lab import check


def scenario(lab):
    server = Server(lab).start()
    computers = [Computer(lab, lab.home("open")).start() for _ in range(7)]
    owner, rest = computers[0], computers[1:]
    made = owner.create("small", server, "--subnet", "10.77.5.0/29")
    check(made["subnet"] == "10.77.5.0/29", f"subnet {made['subnet']}")
    hosts = [str(h) for h in ipaddress.ip_network("10.77.5.0/29").hosts()]
    check(owner.ipv4() == hosts[0], f"the owner has {owner.ipv4()}")
    for computer, address in zip(rest, hosts[1:]):
        got = computer.join(made["invite"])["ipv4"].split("/")[0]
        check(got == address, f"{computer.name} has {got}, not the next free address {address}")
    late = rest[len(hosts) - 1]
    why = late.refused(CONFLICT, "join", made["invite"])
    check(late.networks() == [], "a refused join left a network behind")

    # Whoever left comes back to the same address; a newcomer gets one only when no fresh one is left.
    third = rest[1]
    third.ok("leave", made["id"])
    check(third.join(made["invite"])["ipv4"].split("/")[0] == hosts[2], "not the old address after coming back")
    third.ok("leave", made["id"])
    got = late.join(made["invite"])["ipv4"].split("/")[0]
    check(got == hosts[2], f"a newcomer in a full network got {got}")
    owner.wait_reaches(got)

    default = computers[0].create("default", server)
    net = ipaddress.ip_network(default["subnet"])
    check(net.prefixlen == 24 and net.subnet_of(ipaddress.ip_network("10.0.0.0/8")), f"default subnet {net}")
    return f"full: {why.err.strip()}"
