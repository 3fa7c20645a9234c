# SPDX-License-Identifier: MIT
"""The n-th allocation of govpnd fails once, for every n of a life from the start over a connect, invite, down, up to the end
(short: 8 of them, spread). It must not crash; if it cannot start it says why; else it answers, and the tunnel works by
itself, or at the latest after `down` and `up`. GOVPN_FAIL_FROM=libcrypto (or libssl, libuv) asks for those of a library.

    h1 (public), h2 (public) -- inet -- server
"""

import os
import re
import time

from govpn import OK, group
from lab import RUN, check

TIME_LIMIT_S = 120
LONG_TIME_LIMIT_S = 3 * 3600
SHORT = 8
BY_ITSELF_S, BY_HAND_S = 3, 25


class Life:
    def __init__(self, lab, other, b, address):
        self.lab, self.other, self.b, self.address = lab, other, b, address
        self.shim = lab.build_tool("fail_alloc", "-shared", "-fPIC")
        self.log = f"{RUN}/{b.name}-govpnd.log"
        self.net = b.network()["id"]
        b.stop()

    def reaches(self, limit_s):
        until = time.monotonic() + limit_s * self.lab.slow
        while time.monotonic() < until:
            if self.b.reaches(self.address, 0.2):
                return True
        return False

    def new_text(self, since):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(since)
            return f.read()

    def ask(self, what, *words):
        result = self.b.run(*words, timeout_s=30)
        code = self.b.process.poll()
        check(code is None, f"{what}: govpnd ended with {code} by {' '.join(words)}")
        return result

    def once(self, n):
        """One life with the n-th allocation failing. Returns (was it reached, how it went)."""
        b, what = self.b, f"allocation {n}"
        since = os.path.getsize(self.log)
        b.wrap = ("env", f"LD_PRELOAD={self.shim}", f"GOVPN_FAIL_AT={n}")
        b.launch()
        self.lab.wait(lambda: b.process.poll() is not None or b.run("list").code == OK, 10, f"{what}: ends or answers")
        if b.process.poll() is not None:
            text = self.new_text(since)
            said = [line for line in text.splitlines() if not line.startswith("fail_alloc:")]
            check(b.process.returncode == 1 and said, f"{what}: exit code {b.process.returncode}, said {said}")
            check("fail_alloc: hit" in text, f"{what} did not fail, and still: {said[-1]}")
            check(not b.interfaces(), f"{what}: an interface is left")
            return True, "did not start"
        how = "by itself"
        if not self.reaches(BY_ITSELF_S):
            how = "by hand"
        self.ask(what, "invite", self.net)
        for verb in ("down", "up"):
            self.ask(what, verb, self.net)
        if not self.reaches(BY_ITSELF_S):
            how = "by hand"
            for verb in ("down", "up"):
                self.ask(what, verb, self.net)
            check(self.reaches(BY_HAND_S), f"{what}: no tunnel any more")
        check(self.ask(what, "status").code == OK or self.ask(what, "status").code == OK, f"{what}: no status any more")
        check(b.stop() == 0, f"{what}: exit code {b.process.returncode} at the end")
        check(not b.interfaces(), f"{what}: an interface is left")
        return "fail_alloc: hit" in self.new_text(since), how

    def count(self):
        since = os.path.getsize(self.log)
        check(not self.once(0)[0], "something failed without being asked to")
        return int(re.findall(r"counted (\d+)", self.new_text(since))[-1])


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    life = Life(lab, a, b, addresses[a])
    total = life.count()
    first = int(os.environ.get("GOVPN_FAIL_FIRST", "1"))
    numbers = range(first, total + 1) if lab.long else sorted({1 + i * (total - 1) // (SHORT - 1) for i in range(SHORT)})
    ways = {}
    for n in numbers:
        hit, how = life.once(n)
        how = how if hit else "not reached"
        ways.setdefault(how, []).append(n)
        print(f"allocation {n} of {total}: {how}", flush=True) if lab.long and how == "by hand" else None
    # Two lives are not alike to the last allocation; the most must still be reached.
    missed = ways.get("not reached", [])
    check(4 * len(missed) <= len(numbers), f"not reached: {len(missed)} of {len(numbers)} allocations: {missed[:20]}")
    return f"{total} allocations; " + ", ".join(f"{len(n)} {how}" for how, n in sorted(ways.items()))
