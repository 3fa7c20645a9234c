#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Our WebRTC modules against peers of other makes: pion, GStreamer's webrtcbin, Chromium.

usage: run.py [--build DIR] [--counts FILE] [--results FILE] [--repeat N] [--messages N] [--paced N] [NAME...]
       run.py --table FILE...

Each repetition is one connection between two computers of the small Internet of tests/netns/lab.py:

    peer x {it answers, it offers} x {IPv4, IPv6} x {direct, NAT}

"NAT" is a home with a port-restricted NAT router for each of the two. IPv6 is not translated: there it is a home with a
stateful firewall that lets nothing in but answers, for each of the two. The server gives STUN.

What one repetition does is told in rtc_load.h. Over the repetitions of a combination everything alternates:
candidates in the description or trickled; who sends, checks and closes (the offerer or the answerer); whether we as
the answerer are the DTLS client or server. After them come cases with further channels, empty and large messages.

A peer that cannot be built or found here is skipped, with the reason. A NAME keeps the cases that have it in their
name. GOVPN_LONG=1 in the environment asks for 20 repetitions of each, the first with 10,000 messages. --results
appends a line of JSON for each repetition; --table makes the table of docs/interop.md of such files.
"""

import argparse
import contextlib
import ctypes
import glob
import itertools
import json
import os
import queue
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

import govpn  # noqa: E402
import lab as labs  # noqa: E402
import parsers  # noqa: E402

INSIDE = "GOVPN_INTEROP_INSIDE"
LONG = os.environ.get("GOVPN_LONG", "") not in ("", "0")
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--uts"]
PR_SET_PDEATHSIG = 1
CASE_LIMIT_S = 600
GO_SOURCES = "/usr/share/gocode"  # where Debian keeps Go libraries
STUN_PORT, OLD_STUN_PORT = 3478, 3479
LOSS_ALLOWED = 0.001
PACED_PER_DATAGRAM = 5  # messages of 200 bytes in a packet of 1,188
FULL = 10000  # messages, paced messages: in the first repetition of the long form
MIRRORED = 1000 if LONG else 100  # channels
PARSED = 1000  # generated candidates, STUN messages and descriptions
ORDERLY = ("shutdown", "abort", "close_notify")


class Failure(Exception):
    """Something was not as it should be."""


class Skipped(Exception):
    """A peer is not to be had here."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def output(*cmd):
    done = subprocess.run(cmd, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def package_version(name):
    return output("dpkg-query", "-W", "-f", "${Version}", name).split("+")[0]


def build(cmd, **more):
    done = subprocess.run(cmd, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Failure(f"{cmd[0]} failed:\n{done.stderr[-2000:]}")


class Pion:
    name = "pion"
    size = big = 65535  # its buffer for one message; a larger one ends its reading
    stun_port = STUN_PORT
    sends_empty = True
    takes_zero_checksum = False  # its SCTP drops an INIT that announces RFC 9653

    def __init__(self, folder):
        if not shutil.which("go") or not os.path.isdir(f"{GO_SOURCES}/src/github.com/pion/webrtc"):
            raise Skipped("needs golang-go and golang-github-pion-webrtc.v3-dev")
        self.command, self.parser = [self.build(folder, "pion_peer")], [self.build(folder, "pion_parse")]
        self.version = package_version("golang-github-pion-webrtc.v3-dev")

    @staticmethod
    def build(folder, name):
        # In GOPATH mode the /v3 of the import is understood only inside a tree with a go.mod.
        source = f"{folder}/src/{name}"
        os.makedirs(source, exist_ok=True)
        shutil.copy(f"{HERE}/{name}.go", source)
        with open(f"{source}/go.mod", "w", encoding="utf-8") as f:
            f.write(f"module {name}\n")
        build(["go", "build", "-o", f"{folder}/{name}", "."], cwd=source,
              env=dict(os.environ, GO111MODULE="off", GOFLAGS="", GOPATH=f"{folder}:{GO_SOURCES}"))
        return f"{folder}/{name}"


class Gstreamer:
    name = "gstreamer"
    size = big = 65536
    stun_port = OLD_STUN_PORT  # libnice asks in the form of RFC 3489
    sends_empty = False  # usrsctp refuses them: "Bad address"
    parser = None
    takes_zero_checksum = True  # skips what it does not know

    def __init__(self, folder):
        flags = output("pkg-config", "--cflags", "--libs", "gstreamer-webrtc-1.0", "gstreamer-sdp-1.0", "jansson")
        if not flags or not glob.glob("/usr/lib/*/gstreamer-1.0/libgstnice.so"):
            raise Skipped("needs libgstreamer-plugins-bad1.0-dev, gstreamer1.0-plugins-bad, gstreamer1.0-nice")
        build(["gcc", "-O2", f"{HERE}/gst_peer.c", "-o", f"{folder}/gst_peer", *flags.split()])
        self.command = [f"{folder}/gst_peer"]
        self.version = package_version("gstreamer1.0-plugins-bad")


class Chromium:
    name = "chromium"
    size = 65536
    big = 262144
    stun_port = STUN_PORT
    sends_empty = True
    takes_zero_checksum = True

    def __init__(self, folder):
        modules = next((d for d in (f"{HERE}/node_modules", os.environ.get("NODE_PATH", ""))
                        if os.path.isdir(f"{d}/playwright-core")), None)
        if not shutil.which("chromium") or not shutil.which("node"):
            raise Skipped("needs chromium and nodejs")
        if modules is None:
            raise Skipped("needs playwright-core: npm install --prefix tests/interop playwright-core")
        for name in ("chromium_peer", "chromium_parse"):
            shutil.copy(f"{HERE}/{name}.mjs", folder)
        if not os.path.exists(f"{folder}/node_modules"):
            os.symlink(os.path.realpath(modules), f"{folder}/node_modules")
        self.command, self.parser = (["node", f"{folder}/{name}.mjs"] for name in ("chromium_peer", "chromium_parse"))
        self.version = output("chromium", "--version").split(" ")[1]


class Program:
    """A running program whose lines of output go to a queue as (program, line or None)."""

    def __init__(self, command, lines):
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, preexec_fn=die_with_parent, start_new_session=True)
        self.report = None
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines):
        for line in self.process.stdout:
            lines.put((self, line))
        lines.put((self, None))

    def write(self, line):
        with contextlib.suppress(BrokenPipeError, ValueError):  # its exit code tells
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def end_input(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.seek(0)
        return self.log.read()[-3000:]


def converse(own, other, driver, lines, on_paced):
    """Passes signaling on until both have ended; a driver that is done ends the other's input. Calls on_paced()
    when the driver begins with the paced messages."""
    end = time.monotonic() + CASE_LIMIT_S
    running = {own, other}
    while running:
        try:
            program, line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise Failure("not in time") from None
        partner = other if program is own else own
        if line is None:
            running.discard(program)
            if program.process.wait(10) != 0:
                reason = (program.report or {}).get("failure")
                raise Failure(f"exit code {program.process.returncode}: {reason}")
            continue
        try:
            found = json.loads(line)
        except ValueError:
            raise Failure(f"not a line of JSON: {line}") from None
        if "report" in found:
            program.report = found["report"]
            if program is driver:
                partner.end_input()
        elif "paced" in found:
            on_paced()
        else:
            partner.write(line)


class Case:
    """One repetition of one combination, or of one of the cases beside them."""

    def __init__(self, peer, place, **what):
        self.peer, self.place = peer, place
        self.we_offer, self.offerer_drives, self.trickle, self.passive = True, True, False, False
        self.messages, self.paced, self.extra, self.zero_checksum, self.mirrored = 1000, 1000, False, False, 0
        self.__dict__.update(what)

    @property
    def name(self):
        words = [self.peer.name, "answers" if self.we_offer else "offers", self.place.family, self.place.topology]
        return " ".join(words + ["channels"] * self.extra + ["zero checksum"] * self.zero_checksum +
                        ["mirrored"] * bool(self.mirrored))

    @property
    def special(self):
        return self.extra or self.zero_checksum or bool(self.mirrored)

    @property
    def we_drive(self):
        return self.we_offer == self.offerer_drives

    def commands(self, build_folder):
        shared = ["--trickle"] if self.trickle else []
        load = ["--drive", self.messages, self.peer.size, self.paced]
        load += ["--extra", self.peer.big] if self.extra else []
        own = [f"{build_folder}/tests/interop/rtc_echo", "offer" if self.we_offer else "answer", *shared]
        own += ["--stun", f"{labs.SERVER_IPV4}:{STUN_PORT}"] if self.place.family == "IPv4" else []
        own += ["--passive"] if self.passive and not self.we_offer else []
        own += [] if self.peer.sends_empty else ["--told-empty"]
        own += ["--zero-checksum"] if self.zero_checksum else []
        other = [*self.peer.command, "answer" if self.we_offer else "offer", *shared]
        other += ["--stun", f"{labs.SERVER_IPV4}:{self.peer.stun_port}"] if self.place.family == "IPv4" else []
        own += ["--mirror", self.mirrored] if self.mirrored else []
        (own if self.we_drive else other).extend(load)
        return self.place.ours.wrap(own), self.place.theirs.wrap(other)

    def run(self, build_folder):
        """Returns a flat record of what was seen."""
        lines, dropped = queue.Queue(), []
        own, other = (Program(c, lines) for c in self.commands(build_folder))
        try:
            converse(own, other, own if self.we_drive else other, lines, lambda: dropped.append(self.place.dropped()))
            return self.check(own.report, other.report, self.place.dropped() - dropped[0])
        except (Failure, IndexError, KeyError, TypeError) as failure:
            raise Failure(f"{failure!r}\n--- rtc_echo: {own.report}\n{own.stop()}\n--- the peer: {other.report}\n"
                          f"{other.stop()}") from None
        finally:
            own.stop()
            other.stop()

    def check(self, own, other, dropped):
        def need(condition, text):
            if not condition:
                raise Failure(text)

        driver = own if self.we_drive else other
        lost = self.paced - driver["unordered_seen"]
        channels = 2 + 18 * self.extra + 2 * self.mirrored
        need(own["messages"] == other["messages"] == self.messages, "messages are missing")
        need(own["bytes"] == other["bytes"], "the sizes differ")
        need(driver["unordered_sent"] == self.paced, "not all paced messages were sent")
        # What the kernel dropped since they began, because a program did not get the processor, was not lost by it.
        allowed = max(1, self.paced * LOSS_ALLOWED) + PACED_PER_DATAGRAM * dropped
        need(lost <= allowed, f"{lost} of {self.paced} paced messages were lost, {dropped} datagrams dropped by the kernel")
        need(not self.extra or own["extra"] == other["extra"] == 90, "messages on further channels are missing")
        need(own["opened"] == own["closed"] == channels, "channels were not opened or not closed")
        # A browser does not tell of all that is opened and closed in the same moment.
        need(other["opened"] == other["closed"] == channels or self.mirrored, "the peer missed a channel")
        need(own["end"] in ORDERLY, f"no orderly end: {own['end']}")
        need(own["oddities"] == 0, f"{own['oddities']} packets were refused")
        return {"case": self.name, "peer": self.peer.name, "version": self.peer.version, "family": self.place.family,
                "role": "answers" if self.we_offer else "offers", "topology": self.place.topology,
                "trickle": self.trickle, "we_drive": self.we_drive, "paced": self.paced, "lost": lost, "dropped": dropped,
                "special": self.special, **own}


class Place:
    """Two computers, one for our program and one for the peer."""

    def __init__(self, family, topology, ours, theirs):
        self.family, self.topology, self.ours, self.theirs = family, topology, ours, theirs

    def dropped(self):
        """Datagrams that did not fit a receive buffer on either computer so far."""
        total = 0
        for node in (self.ours, self.theirs):
            with node:
                with open("/proc/thread-self/net/snmp", encoding="ascii") as f:
                    names, values = (line.split() for line in f if line.startswith("Udp:"))
                with open("/proc/thread-self/net/snmp6", encoding="ascii") as f:
                    six = dict(line.split() for line in f)
            total += int(values[names.index("RcvbufErrors")]) + int(six["Udp6RcvbufErrors"])
        return total


def make_places(lab):
    def direct(first, **families):
        return lab.public(f"d{first}", first, **families), lab.public(f"d{first + 1}", first + 1, **families)

    return [Place("IPv4", "direct", *direct(20, ipv6=False)), Place("IPv6", "direct", *direct(22, ipv4=False)),
            Place("IPv4", "NAT", lab.home("port"), lab.home("port")),
            Place("IPv6", "NAT", lab.home("v6"), lab.home("v6"))]


def answer_old_stun(node):
    """STUN as it was before it had a magic cookie (RFC 3489 11.1), which our server does not answer."""
    with node:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((labs.SERVER_IPV4, OLD_STUN_PORT))

    def answer():
        while True:
            asked, (address, port) = s.recvfrom(2048)
            if len(asked) >= 20 and asked[:2] == b"\0\1":
                mapped = struct.pack("!HHBBH4s", 1, 8, 0, 1, port, socket.inet_aton(address))
                s.sendto(struct.pack("!HH", 0x101, len(mapped)) + asked[4:20] + mapped, (address, port))

    threading.Thread(target=answer, daemon=True).start()


def matrix(peer, places, args):
    """The repetitions of the combinations."""
    for i, (we_offer, place) in enumerate(itertools.product((True, False), places)):
        for r in range(args.repeat):
            full = LONG and r == 0
            yield Case(peer, place, we_offer=we_offer, trickle=bool(r & 1), offerer_drives=not (r >> 1 ^ i) & 1,
                       passive=bool((r >> 2 ^ i >> 1) & 1), messages=FULL if full else args.messages,
                       paced=FULL if full else args.paced)


def special(peer, places, args):
    """Further channels, empty and large messages, closing and opening again; channels with generated parameters;
    announcing a zero checksum."""
    for we_offer, offerer_drives in itertools.product((True, False), repeat=2):
        yield Case(peer, places[0], we_offer=we_offer, offerer_drives=offerer_drives, messages=100, paced=100,
                   extra=True)
    for we_offer in (True, False):
        yield Case(peer, places[0], we_offer=we_offer, offerer_drives=we_offer, messages=10, paced=10, mirrored=MIRRORED)
    if peer.takes_zero_checksum:
        yield Case(peer, places[0], messages=args.messages, paced=args.paced, zero_checksum=True)


def figures(peer, case, seen):
    marks = [word for word, on in (("trickle", case.trickle), ("we drive", case.we_drive)) if on]
    rate = f"{2 * seen['bytes'] * 8 / max(seen['traffic_ms'], 1) / 1000:.0f} Mbit/s, " if case.we_drive else ""
    return (f"{', '.join([peer.version, *marks])}; DTLS {seen['dtls']}, {seen['local']}-{seen['remote']}, open in "
            f"{seen['open_ms']} ms, {seen['messages']} messages, {seen['bytes'] / 1e6:.1f} MB each way, {rate}"
            f"{seen['retransmitted']} retransmitted, {seen['lost']} of {seen['paced']} lost ({seen['dropped']} datagrams dropped by the kernel), end: {seen['end']}, "
            f"zero checksums: {seen['zero_checksums']}")


def record(args, seen):
    if args.results:
        with open(args.results, "a", encoding="utf-8") as f:
            f.write(json.dumps(seen) + "\n")


def compare_parsers(peer, args):
    """Whether the peer's parsers understand what ours do; a line of figures. Raises Failure."""
    cases = parsers.cases(int(time.time()) if LONG else 1, PARSED)
    ours = parsers.run([f"{args.build}/tests/interop/rtc_parse"], cases)
    compared, stricter, found = parsers.compare(ours, parsers.run(peer.parser, cases), cases)
    if found:
        raise Failure("\n".join(f"{case['text']!r}\n    ours {a}\n    its  {b}" for case, a, b in found[:10]))
    return f"{compared} compared, {stricter} damaged ones that we alone refuse"


def run_parsers(peer, args):
    """Returns (passed, failed)."""
    name = f"{peer.name} parsers"
    if peer.parser is None or args.names and not any(n in name for n in args.names):
        return 0, 0
    try:
        print(f"ok   {name} ({compare_parsers(peer, args)})", flush=True)
        return 1, 0
    except (Failure, subprocess.SubprocessError) as failure:
        print(f"FAIL {name}: {failure}", flush=True)
        return 0, 1


def run_peer(kind, folder, places, args):
    """Returns (passed, failed)."""
    try:
        peer = kind(folder)
    except Skipped as reason:
        print(f"skip {kind.name}: {reason}", flush=True)
        return 0, 0
    except Failure as failure:
        print(f"FAIL {kind.name} cannot be built: {failure}", flush=True)
        return 0, 1
    passed, failed = run_parsers(peer, args)
    for case in itertools.chain(matrix(peer, places, args), special(peer, places, args)):
        if args.names and not any(n in case.name for n in args.names):
            continue
        start = time.monotonic()
        try:
            seen = case.run(args.build)
            record(args, {**seen, "ok": True})
            passed += 1
            print(f"ok   {case.name} ({time.monotonic() - start:.1f} s: {figures(peer, case, seen)})", flush=True)
        except Failure as failure:
            failed += 1
            record(args, {"case": case.name, "special": case.special, "ok": False})
            print(f"FAIL {case.name} (trickle {case.trickle}, we drive {case.we_drive}, passive {case.passive}, "
                  f"{time.monotonic() - start:.1f} s): {failure}", flush=True)
    return passed, failed


def print_table(paths):
    """The repetitions of the combinations as Markdown."""
    cases = {}
    for path in paths:
        with open(path, encoding="utf-8") as f:
            for line in f:
                one = json.loads(line)
                if not one["special"]:
                    cases.setdefault(one["case"], []).append(one)
    print("| peer, its role, family, topology | passed / run | open, median / worst ms | messages each way | "
          "unordered: back / sent (dropped by the kernel) | closed by us / by it | how it ended |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, all_of_it in cases.items():
        good = [one for one in all_of_it if one["ok"]]
        if not good:
            print(f"| {name} | 0 / {len(all_of_it)} |  |  |  |  |  |")
            continue
        opened = [one["open_ms"] for one in good]
        paced, lost = sum(one["paced"] for one in good), sum(one["lost"] for one in good)
        ours = sum(one["we_drive"] for one in good)
        dropped = f"{sum(one['dropped'] for one in good):,}" if all("dropped" in one for one in good) else "not counted"
        ends = sorted({one["end"] for one in good})
        print(f"| {name} | {len(good)} / {len(all_of_it)} | {statistics.median(opened):.0f} / {max(opened)} | "
              f"{sum(one['messages'] for one in good):,} | {paced - lost:,} / {paced:,} ({dropped}) | "
              f"{ours} / {len(good) - ours} | {', '.join(ends)} |")


def inside(args):
    """In the namespaces. Returns (passed, failed)."""
    lab = labs.Lab()
    os.environ["GOVPN_BUILD"] = args.build
    govpn.Server(lab).start()
    answer_old_stun(lab.server)
    places = make_places(lab)
    kinds = (Pion, Gstreamer, Chromium)
    kinds = [k for k in kinds if any(k.name in n for n in args.names)] or kinds
    with tempfile.TemporaryDirectory(prefix="govpn-interop-") as folder:
        results = [run_peer(kind, folder, places, args) for kind in kinds]
    return sum(p for p, _ in results), sum(f for _, f in results)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--counts")
    parser.add_argument("--results")
    parser.add_argument("--table", nargs="+")
    parser.add_argument("--repeat", type=int, default=20 if LONG else 2)
    parser.add_argument("--messages", type=int, default=1000 if LONG else 300)
    parser.add_argument("--paced", type=int, default=2000 if LONG else 1000)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.table:
        return print_table(args.table)
    args.build = os.path.abspath(args.build)
    if INSIDE not in os.environ:
        return subprocess.run([*UNSHARE, sys.executable, os.path.abspath(__file__), *sys.argv[1:]],
                              env={**os.environ, INSIDE: "1"}, preexec_fn=die_with_parent, check=False).returncode
    passed, failed = inside(args)
    if args.counts:
        with open(args.counts, "a", encoding="utf-8") as f:
            f.write(f"{passed} {failed}\n")
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # the namespaces end the rest


if __name__ == "__main__":
    sys.exit(main())
