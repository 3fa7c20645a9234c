# SPDX-License-Identifier: MIT
"""Plan 3.1: what the TUN reads goes to the peer with that destination address, and to nobody else.

    h1 (port NAT), h2 (public), h3 (public) -- inet -- server
"""

import ipaddress

from govpn import group
from lab import check

SIZES = (0, 1, 8, 100, 1000, 1351, 1352, 1353, 1400, 4000, 20000, 65507)


def sent(computer, address):
    return computer.peers()[address]["tx_packets"] or 0


def scenario(lab):
    _, (a, b, c), addresses = group(lab, ["port", "open", "open"])
    before = {peer: sent(a, addresses[peer]) for peer in (b, c)}
    # ping hardly waits for its last one, which is one more than is needed.
    done = a.node.run("ping", "-n", "-q", "-i", "0.01", "-c", "201", addresses[b])
    check(" 200 received" in done.stdout or " 201 received" in done.stdout, done.stdout)
    lab.wait(lambda: sent(a, addresses[b]) - before[b] >= 200, 3, "200 packets counted towards b")
    check(sent(a, addresses[c]) - before[c] < 20, "packets for b were sent to c")

    for size in SIZES:  # up to the largest datagram: cut by the kernel, by us, or both
        done = a.node.run("ping", "-n", "-q", "-c", "1", "-W", "3", "-s", size, addresses[b], check_code=False)
        check(" 1 received" in done.stdout, f"ping of {size} bytes: {done.stdout}")

    nobody = next(str(h) for h in ipaddress.ip_network(a.network()["subnet"]).hosts() if str(h) not in addresses.values())
    before = {peer: sent(a, addresses[peer]) for peer in (b, c)}
    check(not a.reaches(nobody), "an address that nobody has answers")
    after = {peer: sent(a, addresses[peer]) for peer in (b, c)}
    check(all(after[p] - before[p] < 20 for p in after), "a packet for nobody went to somebody")
    return f"{len(SIZES)} sizes"
