# SPDX-License-Identifier: MIT
"""The daemon's socket in bad hands: users outside its group are kept out, malformed requests, clients that never read and
1,000 connections at a time do no harm.

    h1 (public), h2 (public) -- inet -- server
"""

import grp
import json
import os
import random
import select
import socket
import time

from govpn import NOT_ALLOWED, OK, group
from lab import check
from process import busiest, rss_kb

LONG_TIME_LIMIT_S = 600
VERBS = ("create", "join", "invite", "list", "status", "up", "down", "leave", "ping", "kick", "unban", "rename", "set-name",
         "set-broadcast", "version")
GROUP = "govpn"
SEED = 20261125


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(10)
    s.connect(path)
    return s


def ask(s, line):
    s.sendall(line + b"\n")
    got = b""
    while not got.endswith(b"\n"):
        more = s.recv(65536)
        if not more:
            return got
        got += more
    return got


def has_group():
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return False
    return True


def users(lab, b):
    """Every verb as root, as nobody, and as a member of the group of the socket."""
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--")
    gid = os.stat(b.socket).st_gid
    member = ("setpriv", "--reuid", "65534", "--regid", "65534", "--groups", "4242", "--")
    mode = os.stat(b.socket).st_mode & 0o777
    check(mode == (0o660 if has_group() else 0o600), f"the socket's mode is {mode:o}")
    net = b.network()["id"]
    words = {
        "create": ["create", "x", "--server", "https://203.0.113.10:8443", "--insecure"], "join": ["join", "https://a/j/b#1.c"],
        "invite": ["invite", net], "list": ["list"], "status": ["status"], "up": ["up"], "down": ["down"],
        "leave": ["leave", net], "ping": ["ping", "x"], "kick": ["kick", net, "x"], "unban": ["unban", net, "x"],
        "rename": ["rename", net, "x"], "set-name": ["set", "name", "x"], "set-broadcast": ["set", "broadcast", net, "off"],
    }
    for verb, line in words.items():
        b.refused(NOT_ALLOWED, *line, wrap=nobody)
        b.refused(NOT_ALLOWED, *line, wrap=member)
    os.chown(b.socket, 0, 4242)
    os.chmod(b.socket, 0o660)
    b.ok("list", wrap=member)
    b.refused(NOT_ALLOWED, "list", wrap=nobody)
    os.chown(b.socket, 0, gid)
    os.chmod(b.socket, mode)
    check(b.network()["state"] == "up" and len(b.networks()) == 1, "somebody outside did something")
    return len(words)


def malformed(rng, count):
    whole = json.dumps({"verb": "status", "network": "x" * 40, "on": True, "uses": 3}).encode()
    for i in range(count):
        kind = i % 8
        if kind == 0:
            yield bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200))).replace(b"\n", b"\0")
        elif kind == 1:
            yield whole[:rng.randrange(len(whole))]
        elif kind == 2:
            spoilt = bytearray(whole)
            spoilt[rng.randrange(len(whole))] = rng.choice([0, 0x7F, 0xFF])
            yield bytes(spoilt).replace(b'"verb"', b'"Verb"')
        elif kind == 3:
            yield json.dumps({"verb": rng.choice(VERBS + ("",)), "network": rng.choice([1, [], {}, True]),
                              "name": rng.choice([None, 7, "", "a" * 65, "a\nb"]), "peer": {}}).encode()
        elif kind == 4:
            yield b"[" * rng.randrange(1, 3000)
        elif kind == 5:
            yield b'{"verb":"status","verb":"list"}'
        elif kind == 6:
            yield b'{"verb":"create","name":"n","server":"' + rng.choice([b"ftp://x", b"https://", b"\\u0000"]) + b'"}'
        else:
            yield b'{"verb":"invite","network":"none","uses":' + rng.choice([b"-1", b"1e9", b"9" * 400, b'"x"']) + b"}"


def bad_requests(lab, b):
    count = 100000 if lab.long else 10000
    before = rss_kb(b.process.pid)
    s, answered = connect(b.socket), 0
    for line in malformed(random.Random(SEED), count):
        answer = ask(s, line)
        check(answer.startswith(b"{") and b'"ok":false' in answer, f"{line[:200]!r} was answered {answer!r}")
        answered += 1
    s.close()
    s = connect(b.socket)  # a line that never ends
    try:
        for _ in range(64):
            s.sendall(b"x" * 65536)
        ended = s.recv(10) == b""
    except (BrokenPipeError, ConnectionResetError):
        ended = True
    check(ended, "a line of 4 MB was taken")
    more = rss_kb(b.process.pid) - before
    check(more < 4096 * lab.slow, f"{count} malformed requests took {more} kB")
    return answered


def never_reading(lab, b):
    """Clients that ask and ask and never read: what waits for them is limited, and they are no burden."""
    before = rss_kb(b.process.pid)
    idle = []
    for _ in range(30):
        s = connect(b.socket)
        s.setblocking(False)
        idle.append(s)
    sent = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        ready = select.select([], idle, [], 0.1)[1]
        for s in ready:
            try:
                sent += s.send(b'{"verb":"status"}\n' * 200)
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                idle.remove(s)
    check(b.run("list").code == OK, "the daemon does not answer beside clients that never read")
    more = rss_kb(b.process.pid) - before
    check(more < 16384 * lab.slow, f"clients that never read cost {more} kB")
    share = busiest(b.process.pid, 1)  # once they are stuck
    check(share < 0.6, f"a thread wanted {share:.0%} of a processor for clients that never read")
    for s in idle:
        s.close()
    return sent, more


def many_connections(lab, b):
    """1,000 at a time, silent: govpn still gets its answer."""
    held = []
    for _ in range(1000):
        try:
            held.append(connect(b.socket))
        except OSError:
            break
    check(len(held) == 1000, f"only {len(held)} connections were taken")
    start = time.monotonic()
    result = b.run("list")
    check(result.code == OK, f"with 1,000 connections: {result}")
    took = time.monotonic() - start
    for s in held:
        s.close()
    return took


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    verbs = users(lab, b)
    bad = bad_requests(lab, b)
    sent, more = never_reading(lab, b)
    took = many_connections(lab, b)
    check(b.process.poll() is None and b.reaches(addresses[a], 1), "the tunnel stopped")
    return (f"{verbs} verbs by 2 outsiders refused, {bad} malformed requests refused, {more} kB for clients that never read, "
            f"list beside 1,000 connections after {took:.2f} s")
