# SPDX-License-Identifier: MIT
"""What the kernel knows of a running program: descriptors, memory, processor time."""

import os
import struct
import time

from lab import RUN, check

PRELOAD = "/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1"


def descriptors(pid):
    """{number: what it is} of the open descriptors."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


def rss_kb(pid):
    """Resident memory; exact, which the kernel's counter in `status` is not."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))


def cpu_s(pid):
    """Seconds of processor time that all threads have used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wants_s(pid):
    """{thread: seconds it ran or waited for a processor}: what spins wants all the time, also on a machine with much to do."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
            ran, waited, _ = map(int, f.read().split())
        found[thread] = (ran + waited) / 1e9
    return found


def busiest(pid, seconds):
    """Lets time pass; the share of it that the busiest thread wanted a processor."""
    before = wants_s(pid)
    start = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    return max((now - before.get(thread, 0)) / took for thread, now in wants_s(pid).items())


def run_s(pid):
    """Seconds of processor time to the nanosecond, as the scheduler counts: for programs that run for moments only."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


class Heap:
    """How much of its heap one program uses (tests/support/heap_count.c)."""

    def __init__(self, lab, name):
        self.path, self.library = f"{RUN}/{name}.heap", lab.build_tool("heap_count", "-shared", "-fPIC")

    def wrap(self):
        """What stands before the command."""
        return ("env", f"LD_PRELOAD={self.library}", f"GOVPN_HEAP_FILE={self.path}")

    def blocks(self):
        with open(self.path, "rb") as f:
            return struct.unpack("=qq", f.read(16))[0]


class WallClock:
    """A wall clock that can be set for one program; its monotonic clocks go on as they are."""

    def __init__(self, path):
        self.path, self.library = path, PRELOAD.format(os.uname().machine)
        check(os.path.exists(self.library), "faketime is not installed (./dev setup test)")
        self.set(0)

    def set(self, seconds):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(f"{seconds:+d}\n")
        os.rename(self.path + ".new", self.path)

    def wrap(self):
        """What stands before a command that shall live by this clock."""
        return ("env", f"LD_PRELOAD={self.library}", f"FAKETIME_TIMESTAMP_FILE={self.path}", "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1")
