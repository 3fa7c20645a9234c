# SPDX-License-Identifier: MIT
"""kill -9 of the daemon at random moments: at rest, at its start, and during create, join, leave, up, down, rename (10 times;
long: 500). Nothing is left of it but its socket's file, its files are whole, the next start works within 2 s, and the tunnel
comes back.

    h1 (public, owner), h2 -- r2 (port NAT) -- inet -- server
"""

import json
import os
import random
import statistics
import subprocess
import time

from govpn import FAILED, NO_DAEMON, NOT_FOUND, OK, group, program
from lab import check, command

TIME_LIMIT_S = 120
LONG_TIME_LIMIT_S = 3600
START_LIMIT_S = 2
SEED = 20261125


class Victim:
    def __init__(self, lab, server, other, computer, invite, rng):
        self.lab, self.server, self.other, self.b, self.invite, self.rng = lab, server, other, computer, invite, rng
        self.net = computer.network()["id"]
        self.key = self.read("identity.key")
        self.rules = self.rule_lines()

    def read(self, name):
        with open(f"{self.b.state}/{name}", encoding="utf-8") as f:
            return f.read()

    def rule_lines(self):
        return command("ip", "-n", self.b.node.name, "rule", "show")

    def actions(self):
        new = ("create", f"n{self.rng.randrange(1000)}", "--server", self.server.url, *self.server.trust())
        return {"rest": None, "start": None, "create": new, "join": ("join", self.invite), "leave": ("leave", self.net),
                "up": ("up", self.net), "down": ("down", self.net), "set": ("set", "name", f"c{self.rng.randrange(1000)}")}

    def prepare(self, action):
        """So that the action has something to do."""
        if action == "join":
            self.ask("leave", self.net)
        if action == "up":
            self.b.ok("down", self.net)

    def ask(self, *words):
        """The server limits how much one address may ask; then a little later."""
        def done():
            result = self.b.run(*words)
            check(result.code == OK or "too many requests" in result.out, str(result))
            return result.code == OK
        self.lab.wait(done, 90, words[0], pause_s=2)

    def kill_during(self, action):
        words, b = self.actions()[action], self.b
        self.prepare(action)
        asking = None
        if action == "start":
            b.kill9()
            b.launch()
        elif words:
            asking = subprocess.Popen(b.node.wrap([program("govpn"), "--socket", b.socket, *words]),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.rng.uniform(0, 0.1))  # the moment is the test
        b.kill9()
        if asking:
            # It failed when the server's limit was reached before the kill.
            check(asking.wait(10) in (OK, FAILED, NO_DAEMON), f"govpn {' '.join(words)} ended with {asking.returncode}")

    def nothing_left(self):
        b = self.b
        self.lab.wait(lambda: not b.interfaces(), 2, f"no interface is left, only {b.interfaces()}")
        routes = command("ip", "-n", b.node.name, "route", "show", "table", "all") + command(
            "ip", "-n", b.node.name, "-6", "route", "show", "table", "all")
        check("govpn" not in routes, f"routes are left: {routes}")
        check(self.rule_lines() == self.rules, "rules are left")
        check(self.read("identity.key") == self.key, "another identity")
        names = set(os.listdir(b.state))
        check(names <= {"identity.key", "networks.json", "networks.json.new", "lock"}, f"files: {names}")
        return [n["id"] for n in json.loads(self.read("networks.json"))["networks"]] if "networks.json" in names else []

    def start(self):
        """Returns after how many seconds the daemon answered."""
        start = time.monotonic()
        self.b.start()
        took = time.monotonic() - start
        check(took < START_LIMIT_S * self.lab.slow, f"the next start took {took:.1f} s")
        return took

    def mend(self, known):
        """Back to one network, connected."""
        b = self.b
        has = [n["id"] for n in b.networks()]
        check(has == known, f"networks {has}, in the file {known}")
        for net in has:
            if net != self.net:
                self.ask("leave", net)
        if self.net not in has:
            self.ask("join", self.invite)
        if b.run("up", self.net).code == NOT_FOUND:  # killed between the server's yes to a leave and our own end of it
            self.ask("join", self.invite)
            self.ask("up", self.net)
        check(b.network()["state"] == "up", f"state {b.network()['state']}: {b.network()['problem']}")
        self.lab.wait(lambda: self.other.reaches(b.ipv4(), 0.2), 15, "the path is back")


def scenario(lab):
    server, (a, b), _ = group(lab, ["open", "port"])
    rng = random.Random(SEED)
    victim = Victim(lab, server, a, b, a.ok("invite", a.network()["id"]).json()["invite"], rng)
    actions = list(victim.actions())
    times, starts = 500 if lab.long else 10, []
    for i in range(times):
        action = actions[i % len(actions)] if i < len(actions) else rng.choice(actions)
        try:
            victim.kill_during(action)
            known = victim.nothing_left()
            starts.append(victim.start())
            victim.mend(known)
        except Exception:
            print(f"kill {i + 1} of {times}, during {action}")
            raise
    return f"{times} kills; started again after {statistics.median(starts):.2f} s in the median, {max(starts):.2f} s at worst"
