#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the scenarios of this folder, each in namespaces of its own.

usage: run.py [--build DIR] [--jobs N] [--slow FACTOR] [--tag TAG] [--repeat N] [--skip NAME] [--counts FILE] [--logs]
              [NAME...]

A scenario is a file with a function scenario(lab); it fails by raising. It may say TIME_LIMIT_S (60), TAGS
(a set) and ALONE (it measures time: nothing runs beside it), and may return a line of figures. A NAME keeps
the scenarios that have it in their name, or the one that is called so. --logs shows the logs also when nothing failed.

GOVPN_LONG=1 in the environment asks for the long forms (./dev soak): lab.long is True, and LONG_TIME_LIMIT_S holds
where a scenario gives it. One that says SOAK = True has no short form and runs only then, or when it is named.
"""

import argparse
import ctypes
import glob
import importlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--uts"]
PR_SET_PDEATHSIG = 1
LONG = os.environ.get("GOVPN_LONG", "") not in ("", "0")
GRACE_S = 20  # beyond the scenario's own limit, for its report


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Scenario:
    def __init__(self, path):
        self.name = os.path.basename(path)[:-3]
        with open(path, encoding="utf-8") as f:
            self.text = f.read()

    def __bool__(self):
        return "\ndef scenario(lab" in self.text

    def constant(self, name, default):
        found = re.search(rf"^{name} = (.*)$", self.text, re.M)
        return eval(found[1], {"os": os}) if found else default  # of our own files

    def limit_s(self, slow):
        short = self.constant("TIME_LIMIT_S", 60)
        return (self.constant("LONG_TIME_LIMIT_S", short) if LONG else short) * slow


def scenarios(names, tag, skip=None):
    found = [s for s in map(Scenario, sorted(glob.glob(f"{HERE}/*.py"))) if s and s.name != skip]
    exact = {s.name for s in found}
    if names:
        found = [s for s in found if any(n == s.name or (n not in exact and n in s.name) for n in names)]
    elif not LONG:
        found = [s for s in found if not s.constant("SOAK", False)]
    return [s for s in found if not tag or tag in s.constant("TAGS", set())]


class Running:
    """One scenario in its own process and namespaces; its output is kept until it ends."""

    def __init__(self, item, args):
        self.item, self.start = item, time.monotonic()
        self.limit_s = item.limit_s(args.slow)
        self.out = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            UNSHARE + [sys.executable, os.path.abspath(__file__), "--inside", "--build", os.path.abspath(args.build),
                       "--slow", str(args.slow)] + ["--logs"] * args.logs + [item.name],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        )

    def ended(self):
        if self.process.poll() is None and time.monotonic() - self.start > self.limit_s + GRACE_S:
            self.process.kill()  # and with it, by --kill-child, everything inside
            self.process.wait()
        return self.process.poll() is not None

    def report(self):
        seconds = time.monotonic() - self.start
        self.out.seek(0)
        text = self.out.read()
        if self.process.returncode == 0:
            note = "".join(f": {line[6:]}" for line in text.splitlines() if line.startswith("note: "))
            print(f"ok   {self.item.name} ({seconds:.1f} s){note}")
            rest = "".join(line + "\n" for line in text.splitlines() if not line.startswith("note: "))
            print(rest, end="", flush=True)
            return True
        reason = "time limit" if self.process.returncode == -9 else f"exit code {self.process.returncode}"
        print(f"FAIL {self.item.name} ({seconds:.1f} s, {reason})\n{text}", flush=True)
        return False


def run_all(items, args):
    """Two at a time; the ones that must be alone last, one by one."""
    results = []
    for group, width in (([s for s in items if not s.constant("ALONE", False)], args.jobs),
                         ([s for s in items if s.constant("ALONE", False)], 1)):
        running = []
        while group or running:
            while group and len(running) < width:
                running.append(Running(group.pop(0), args))
            time.sleep(0.05)
            for one in [r for r in running if r.ended()]:
                running.remove(one)
                results.append(one.report())
    return results


def inside(args):
    """In the namespaces: runs one scenario. Exit code 0 or 1."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # some hold a thousand connections
    sys.path.insert(0, HERE)
    lab_module = importlib.import_module("lab")
    os.environ["GOVPN_BUILD"] = args.build
    item = scenarios(args.names, None)[0]

    def too_late(*_):
        raise lab_module.Failure("time limit")

    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(int(item.limit_s(args.slow)))
    lab = lab_module.Lab(args.slow, LONG)
    try:
        note = importlib.import_module(item.name).scenario(lab)
        if "ASAN_OPTIONS" in os.environ:
            lab.end_programs()
        lab_module.check(not lab.findings(), "a sanitizer has found something")
        if note:
            print(f"note: {note}")
        if args.logs:
            print(lab.tails(1000))
        code = 0
    except BaseException:  # whatever it was, the logs are what one needs now
        signal.alarm(0)
        traceback.print_exc()
        sys.stderr.flush()
        print(lab.tails(), flush=True)
        code = 1
    sys.stdout.flush()
    os._exit(code)  # the namespaces end the rest


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--slow", type=float, default=1.0)
    parser.add_argument("--tag")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--skip")
    parser.add_argument("--counts")
    parser.add_argument("--logs", action="store_true")
    parser.add_argument("--inside", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.inside:
        inside(args)
    if os.getuid() != 0 or not shutil.which("unshare"):
        sys.exit("run.py: needs root and util-linux")
    results = run_all([s for _ in range(args.repeat) for s in scenarios(args.names, args.tag, args.skip)], args)
    if args.counts:
        with open(args.counts, "a", encoding="ascii") as f:
            f.write(f"{results.count(True)} {results.count(False)}\n")
    else:
        print(f"{results.count(True)} passed, {results.count(False)} failed")
    return not all(results)


if __name__ == "__main__":
    sys.exit(main())
