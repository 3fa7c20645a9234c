#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Our WebRTC modules against peers of other makes: pion, GStreamer's webrtcbin, Chromium.

usage: run.py [--build DIR] [--counts FILE] [--repeat N] [--messages N] [--size BYTES] [NAME...]

Each case is one connection on one computer, in a network namespace of its own: descriptions are swapped, a
reliable ordered channel opens, one side sends messages of 1 .. SIZE bytes (each fourth one text), the other
echoes them, the sender compares hashes and closes the channel, then the association. A peer that cannot be
built or found here is skipped, with the reason. A NAME keeps the cases that have it in their name.
"""

import argparse
import contextlib
import ctypes
import glob
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "GOVPN_INTEROP_INSIDE"
PR_SET_PDEATHSIG = 1
CASE_LIMIT_S = 180
GO_SOURCES = "/usr/share/gocode"  # where Debian keeps Go libraries


class Failure(Exception):
    """Something was not as it should be."""


class Skipped(Exception):
    """A peer is not to be had here."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def version(*cmd):
    done = subprocess.run(cmd, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def package_version(name):
    return version("dpkg-query", "-W", "-f", "${Version}", name).split("+")[0]


def build(cmd, **more):
    done = subprocess.run(cmd, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Failure(f"{cmd[0]} failed:\n{done.stderr[-2000:]}")


class Pion:
    name = "pion"
    size_max = 65535  # its buffer for one message; a larger one ends its reading
    only_answers = False

    def __init__(self, folder):
        if not shutil.which("go") or not os.path.isdir(f"{GO_SOURCES}/src/github.com/pion/webrtc"):
            raise Skipped("needs golang-go and golang-github-pion-webrtc.v3-dev")
        # In GOPATH mode the /v3 of the import is understood only inside a tree with a go.mod.
        source = f"{folder}/src/pion_peer"
        os.makedirs(source, exist_ok=True)
        shutil.copy(f"{HERE}/pion_peer.go", source)
        with open(f"{source}/go.mod", "w", encoding="utf-8") as f:
            f.write("module pion_peer\n")
        build(["go", "build", "-o", f"{folder}/pion_peer", "."], cwd=source,
              env=dict(os.environ, GO111MODULE="off", GOFLAGS="", GOPATH=f"{folder}:{GO_SOURCES}"))
        self.command = [f"{folder}/pion_peer"]
        self.version = package_version("golang-github-pion-webrtc.v3-dev")


class Gstreamer:
    name = "gstreamer"
    size_max = 65536
    only_answers = True

    def __init__(self, folder):
        flags = version("pkg-config", "--cflags", "--libs", "gstreamer-webrtc-1.0", "gstreamer-sdp-1.0")
        if not flags or not glob.glob("/usr/lib/*/gstreamer-1.0/libgstnice.so"):
            raise Skipped("needs libgstreamer-plugins-bad1.0-dev, gstreamer1.0-plugins-bad, gstreamer1.0-nice")
        build(["gcc", "-O2", f"{HERE}/gst_peer.c", "-o", f"{folder}/gst_peer", *flags.split()])
        self.command = [f"{folder}/gst_peer"]
        self.version = package_version("gstreamer1.0-plugins-bad")


class Chromium:
    name = "chromium"
    size_max = 65536
    only_answers = False

    def __init__(self, folder):
        modules = next((d for d in (f"{HERE}/node_modules", os.environ.get("NODE_PATH", ""))
                        if os.path.isdir(f"{d}/playwright-core")), None)
        if not shutil.which("chromium") or not shutil.which("node"):
            raise Skipped("needs chromium and nodejs")
        if modules is None:
            raise Skipped("needs playwright-core: npm install --prefix tests/interop playwright-core")
        shutil.copy(f"{HERE}/chromium_peer.mjs", folder)
        if not os.path.exists(f"{folder}/node_modules"):
            os.symlink(os.path.realpath(modules), f"{folder}/node_modules")
        self.command = ["node", f"{folder}/chromium_peer.mjs"]
        self.version = version("chromium", "--version").split(" ")[1]


class Program:
    """A running program whose lines of output can be waited for."""

    def __init__(self, command):
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, preexec_fn=die_with_parent, start_new_session=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self, end):
        try:
            line = self.lines.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            raise Failure("no line of output in time") from None
        if line is None:
            raise Failure("ended without its line of output")
        return line

    def write(self, line):
        with contextlib.suppress(BrokenPipeError):  # its exit code tells
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def wait(self, end):
        try:
            return self.process.wait(timeout=max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure("did not end in time") from None

    def rest(self):
        lines = []
        while (line := self.lines.get(timeout=5)) is not None:
            lines.append(line)
        return lines

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.seek(0)
        return self.log.read()[-3000:]


def run_case(ours, theirs, offerer):
    """One connection. Returns (our report, what the peer said)."""
    end = time.monotonic() + CASE_LIMIT_S
    own, other = Program(ours), Program(theirs)
    try:
        first, second = (own, other) if offerer == "own" else (other, own)
        second.write(first.line(end))
        first.write(second.line(end))
        code = own.wait(end)
        lines = own.rest()
        report = json.loads(lines[-1]) if lines else {}
        if code != 0:
            raise Failure(f"rtc_echo: {report.get('failure') or f'exit code {code}'}: {report}")
        code = other.wait(end)
        if code != 0:
            raise Failure(f"the peer: exit code {code}; ours: {report}")
        return report, [line.strip() for line in other.rest()]
    except Failure as failure:
        raise Failure(f"{failure}\n--- rtc_echo\n{own.stop()}\n--- the peer\n{other.stop()}") from None
    finally:
        own.stop()
        other.stop()


def cases(peer, args):
    """(name, our command, their command, who offers)."""
    own, load = f"{args.build}/tests/interop/rtc_echo", [str(args.messages), str(min(args.size, peer.size_max))]
    yield (f"{peer.name} answers", [own, "offer", "--send", *load], [*peer.command, "answer"], "own")
    if peer.only_answers:
        return
    yield (f"{peer.name} offers", [own, "answer"], [*peer.command, "offer", *load], "other")
    yield (f"{peer.name} offers, we are the DTLS server", [own, "answer", "--passive"],
           [*peer.command, "offer", *load], "other")


def check_report(report, said, args):
    if report["messages"] != args.messages:
        raise Failure(f"{report['messages']} of {args.messages} messages: {report}")
    if not report["channel_closed"]:
        raise Failure(f"the channel was not closed: {report}")
    if "channel closed" not in said:
        raise Failure(f"the peer did not see the channel close: {said}")


def figures(peer, report):
    rate = 2 * report["bytes"] * 8 / max(report["traffic_ms"], 1) / 1000
    odd = f", {report['oddities']} oddities" if report["oddities"] else ""
    return (f"{peer.name} {peer.version}, DTLS {report['dtls']}, open in {report['open_ms']} ms, "
            f"{report['messages']} messages, {report['bytes'] / 1e6:.1f} MB each way, {rate:.0f} Mbit/s, "
            f"{report['retransmitted']} retransmitted, end: {report['end']}{odd}")


def make_network():
    """One interface with a default route: browsers offer no loopback addresses and ask for the route."""
    for line in ("link set lo up", "link add v0 type veth peer name v1", "addr add 10.9.0.1/24 dev v0",
                 "addr add fd09::1/64 dev v0 nodad", "link set v0 up", "link set v1 up",
                 "route add default via 10.9.0.2 dev v0"):
        subprocess.run(["ip", *line.split()], check=True)


def run_peer(kind, folder, args):
    """Returns (passed, failed)."""
    passed = failed = 0
    try:
        peer = kind(folder)
    except Skipped as reason:
        print(f"skip {kind.name}: {reason}", flush=True)
        return 0, 0
    except Failure as failure:
        print(f"FAIL {kind.name} cannot be built: {failure}", flush=True)
        return 0, 1
    for name, ours, theirs, offerer in cases(peer, args):
        if args.names and not any(n in name for n in args.names):
            continue
        for _ in range(args.repeat):
            try:
                report, said = run_case(ours, theirs, offerer)
                check_report(report, said, args)
                passed += 1
                print(f"ok   {name} ({figures(peer, report)})", flush=True)
            except Failure as failure:
                failed += 1
                print(f"FAIL {name}: {failure}", flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--counts")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=65536)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if INSIDE not in os.environ:
        return subprocess.run(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
             os.path.abspath(__file__), *sys.argv[1:]],
            env={**os.environ, INSIDE: "1"}, preexec_fn=die_with_parent, check=False).returncode
    make_network()
    kinds = [k for k in (Pion, Gstreamer, Chromium) if not args.names or any(k.name in n for n in args.names)]
    with tempfile.TemporaryDirectory(prefix="govpn-interop-") as folder:
        results = [run_peer(kind, folder, args) for kind in kinds]
    passed, failed = sum(p for p, _ in results), sum(f for _, f in results)
    if args.counts:
        with open(args.counts, "a", encoding="utf-8") as f:
            f.write(f"{passed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
