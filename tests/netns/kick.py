# SPDX-License-Identifier: MIT
"""A kicked computer is cut within 5 s, and comes back neither with its key nor with a new one.

    h1 (owner, public), h2 (port NAT), h3 (public, kicked) -- inet -- server
"""

import shutil
import time

from govpn import REFUSED, Computer, group
from lab import check


def scenario(lab):
    server, (owner, member, kicked), addresses = group(lab, ["open", "port", "open"])
    net = owner.network()["id"]
    link = owner.ok("invite", net).json()["invite"]
    label = owner.peers()[addresses[kicked]]["label"]
    start = time.monotonic()
    owner.ok("kick", net, label)
    for one in (owner, member):
        lab.wait(lambda one=one: not one.reaches(addresses[kicked], 0.2), 5, f"{one.name} cuts the kicked one")
        lab.wait(lambda one=one: addresses[kicked] not in one.peers(), 5, f"{one.name} forgets the kicked one")
    seconds = time.monotonic() - start
    check(seconds < 5 * lab.slow, f"cut only after {seconds:.1f} s")
    check(not kicked.reaches(addresses[owner]) and not kicked.reaches(addresses[member]), "the kicked one still gets in")
    check(owner.reaches(addresses[member]), "the others lost each other")

    # Its key is banned: a link that lets others in does not help it. Without the key the old link is withdrawn.
    fresh_link = owner.ok("invite", net).json()["invite"]
    for one in (link, fresh_link):
        kicked.refused(REFUSED, "join", one)
    kicked.stop()
    shutil.rmtree(kicked.state)
    kicked.start()
    kicked.refused(REFUSED, "join", link)

    # The new invite lets a newcomer in, and members that were there stay.
    fresh = Computer(lab, lab.home("open")).start()
    got = fresh.join(fresh_link)["ipv4"].split("/")[0]
    owner.wait_reaches(got)
    fresh.wait_reaches(addresses[member])
    server.kill9()
    server.start()
    check(owner.reaches(addresses[member]), "a path did not outlive the server")
    return f"cut after {seconds:.1f} s"
