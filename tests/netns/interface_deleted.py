# SPDX-License-Identifier: MIT
"""The tunnel interface is deleted by hand: it comes back with its name and addresses, and so does the path.

    h1 (public), h2 (public) -- inet -- server
"""

from govpn import group
from lab import check


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    before = b.network()
    b.node.run("ip", "link", "del", before["interface"])
    lab.wait(lambda: b.reaches(addresses[a]), 10, "the path is back")
    after = b.network()
    for key in ("interface", "ipv4", "ipv6", "state"):
        check(after[key] == before[key], f"{key} was {before[key]} and is {after[key]}")
    # Its end while nobody looks: down takes away what is gone already.
    b.node.run("ip", "link", "del", before["interface"])
    b.ok("down", before["id"])
    lab.wait(lambda: not b.interfaces(), 5, "the interface is gone")
    b.ok("up", before["id"])
    b.wait_reaches(addresses[a])
