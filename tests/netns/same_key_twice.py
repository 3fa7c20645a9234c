# SPDX-License-Identifier: MIT
"""A cloned disk: two computers with one identity and one state. They take turns at most every 30 s, each says why, and the
path of two others does not notice.

    h1 "anna" (owner), h2 "bert", h3 "carl", h4 "clone" of carl (public) -- inet -- server
"""

import re
import shutil
import time

from govpn import Computer, Pinger, Server, wait_mesh
from lab import check

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 400
WATCH_S, LONG_WATCH_S = 14, 240
TURN_S = 30
WHY = "same identity.key"


def logins(server, key):
    """Times, in seconds, at which this key logged in."""
    found = re.findall(r"^\S+T(\d+):(\d+):([\d.]+)Z info +session: session.login computer=\"(\S+)\"", server.text(), re.M)
    return [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s, who in found if key.startswith(who[:10])]  # the log cuts it


def scenario(lab):
    server = Server(lab).start()
    anna, bert, carl = [Computer(lab, lab.home("open"), name=n).start() for n in ("anna", "bert", "carl")]
    made = anna.create("party", server)
    for c in (bert, carl):
        c.join(made["invite"])
    addresses = wait_mesh(lab, [anna, bert, carl])
    key = carl.network()["self"]["id"]
    clone = Computer(lab, lab.home("open"), name="clone")
    shutil.copytree(carl.state, clone.state, ignore=shutil.ignore_patterns("lock"))
    pinger = Pinger(anna.node, addresses[bert])
    before = len(logins(server, key))
    clone.start()
    lab.wait(lambda: WHY in (carl.network()["problem"] or ""), 10, "carl says that another one has its key")
    lab.wait(lambda: clone.network()["server"]["connected"], 10, "the clone is connected")
    anna.wait_reaches(addresses[carl], 10)  # whoever of the two it is now
    # Nothing that happens on the computer makes it fight before its time.
    for what in ("add", "del"):
        carl.node.ip(f"route {what} 198.51.100.0/24 via 203.0.113.1")
    carl.run("invite", made["id"])
    time.sleep(LONG_WATCH_S if lab.long else WATCH_S)
    lost, sent = pinger.stop()
    turns = logins(server, key)[before:]
    gaps = [b - a for a, b in zip(turns, turns[1:])]
    check(all(g % 86400 >= TURN_S for g in gaps), f"turns after {gaps} s")
    check(len(turns) >= (3 if lab.long else 1), f"{len(turns)} logins in the time")
    check(lost == 0, f"the path of the others lost {lost} of {sent}")
    check(anna.reaches(addresses[bert]), "anna lost bert")
    apart = f"at least {min(gaps):.0f} s apart" if gaps else f"none in the {WATCH_S} s after it"
    return f"{len(turns)} turns, {apart}; the others lost {lost} of {sent}"
