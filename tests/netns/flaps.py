# SPDX-License-Identifier: MIT
"""The network card goes down and up 20 times (long: 100, one second each), its cable is pulled as often, the tunnel interface
is set down by hand, the default route is away for 5 s (long: 60 s), all packets are lost for 5 s (long: 60 s as well): the
path is back within 3 s (5 s after losses), no descriptor is lost, nothing spins.

    h1 (public), h2 -- r2 (port NAT) -- inet -- server
"""

import time

from govpn import group
from lab import check
from process import busiest, descriptors

TIME_LIMIT_S = 120
LONG_TIME_LIMIT_S = 600


class Faults:
    def __init__(self, lab, a, b, addresses):
        self.lab, self.a, self.b, self.addresses = lab, a, b, addresses
        self.pid, self.notes = b.process.pid, []

    def back(self, what, limit_s):
        start = time.monotonic()
        self.a.wait_reaches(self.addresses[self.b], 60)
        self.b.wait_reaches(self.addresses[self.a], 60)
        took = time.monotonic() - start
        check(took < limit_s * self.lab.slow, f"{what}: back after {took:.1f} s")
        self.notes.append(f"{what} {took:.1f} s")

    def spend(self, what, seconds):
        """Time passes under a fault: it must not cost a processor."""
        share = busiest(self.pid, seconds)
        check(share < 0.6, f"{what}: a thread wanted {share:.0%} of a processor")

    def flap(self):
        times, pause = (100, 0.5) if self.lab.long else (20, 0.03)
        for _ in range(times):
            self.lab.link(self.b.node, False)
            time.sleep(pause)
            self.lab.link(self.b.node, True)
            time.sleep(pause)
        self.back(f"{times} flaps of the card", 3)
        for _ in range(times):
            self.b.node.carrier(False)
            time.sleep(pause)
            self.b.node.carrier(True)
            time.sleep(pause)
        self.back(f"{times} flaps of the cable", 3)

    def interface_down(self):
        name = self.b.network()["interface"]
        self.b.node.ip(f"link set {name} down")
        self.back("tunnel set down by hand", 3)
        check(self.b.network()["interface"] == name, "another interface")

    def no_route(self):
        node = self.b.node
        node.ip("route del default")
        self.spend("without a default route", 60 if self.lab.long else 5)
        self.lab.restore_routes(node)
        self.back("default route gone", 5)

    def blackhole(self, seconds):
        self.b.node.blackhole(True)
        self.spend("in a black hole", seconds)
        self.b.node.blackhole(False)
        self.back(f"{seconds} s of black hole", 5)


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "port"])
    faults = Faults(lab, a, b, addresses)
    had = len(descriptors(faults.pid))
    faults.blackhole(5)
    if lab.long:
        faults.blackhole(60)
    faults.flap()
    faults.interface_down()
    faults.no_route()
    lab.wait(lambda: len(descriptors(faults.pid)) <= had, 40, f"{had} descriptors, not {len(descriptors(faults.pid))}")
    check(b.process.pid == faults.pid and b.process.poll() is None, "the daemon ended")
    return "back after: " + ", ".join(faults.notes)
