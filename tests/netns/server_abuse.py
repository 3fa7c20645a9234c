# SPDX-License-Identifier: MIT
"""What strangers can send to the server: nothing of it stops it or holds up others.

    stranger (public) -- inet -- server
"""

import os
import random
import socket
import struct
import sys
import time

from govpn import Server
from lab import check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

TIME_LIMIT_S = 90
SLOW_SOCKETS = 300
FRAMES = 3000
HEADS = 500


def tcp(server, timeout=5):
    return socket.create_connection((server.address, server.port), timeout)


def is_closed(sock, limit_s):
    """Reads until the server closes; False when it does not."""
    sock.settimeout(limit_s)
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def logs_in(server, limit_s=2):
    start = time.monotonic()
    client = sigclient.Client(server.url, timeout=5)
    client.login()
    client.close()
    took = time.monotonic() - start
    check(took <= limit_s, f"a login took {took:.1f} s")
    return took


def slow_ones(server):
    """A byte now and then, in the HTTP head and after the upgrade, and some that say nothing: all are cut."""
    socks = []
    for i in range(SLOW_SOCKETS):
        sock = tcp(server)
        if i % 3 == 0:
            sock.sendall(b"GET /ws HT")
        elif i % 3 == 1:
            sock.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        socks.append(sock)
    worst = max(logs_in(server) for _ in range(5))
    end = time.monotonic() + 14
    for sock in socks:
        check(is_closed(sock, max(end - time.monotonic(), 0.1)), "a slow connection was not cut")
        sock.close()
    return worst


def frame(rng):
    kind = rng.randrange(8)
    first = rng.choice((0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0x01, 0x00, 0xf1, 0x8b, 0xc1))
    if kind == 0:
        return bytes([first, 0x80 | 127]) + struct.pack(">Q", 2**63) + b"abcd"
    if kind == 1:
        return bytes([first, 5]) + b"hello"  # not masked
    if kind == 2:
        return bytes([0x89, 0x80 | 126, 0, 200]) + bytes(204)  # control frames have at most 125 bytes
    if kind == 3:
        return rng.randbytes(rng.randrange(1, 200))
    if kind == 4:
        return b"".join(bytes([0x01 if i == 0 else 0x00, 0x81]) + bytes(4) + b"x" for i in range(500))
    text = rng.randbytes(50) if kind == 5 else b'{"message_id":"1","type":"' + b"A" * 20 + b'"}'
    return bytes([first, 0x80 | len(text)]) + bytes(4) + text


def bad_frames(server, rng):
    for _ in range(FRAMES // 10):
        try:
            client = sigclient.Client(server.url, timeout=5)
            for _ in range(10):
                client.socket.sendall(frame(rng))
            client.close()
        except (ConnectionError, sigclient.Closed):
            pass


def bad_heads(server, rng):
    for i in range(HEADS):
        sock = tcp(server)
        try:
            if i % 4 == 0:
                sock.sendall(rng.randbytes(300))
            elif i % 4 == 1:
                sock.sendall(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n")
            elif i % 4 == 2:
                sock.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n")
            else:
                sock.sendall(b"POST /stats HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + bytes(100))
        except ConnectionError:
            pass
        sock.close()


def long_messages(server):
    """Above the limits: refused with a code, before and after login."""
    client = sigclient.Client(server.url)
    client.expect("Challenge")
    client.send_frame(1, b" " * 9000)
    check(client.expect("Error")["code"] == "too_big", "a long message before login")
    client = sigclient.Client(server.url)
    client.login()
    client.send_frame(1, b" " * 600000)
    check(client.expect("Error")["code"] == "too_big", "a long message")
    check(is_closed(client.socket, 5), "not closed after a message that is too big")


def flood_one_that_does_not_read(server):
    """The sender is told; returns both, still open."""
    sender, deaf = sigclient.Client(server.url), sigclient.Client(server.url)
    sender.login()
    deaf.login()
    network = sigclient.Network(sender.key)
    sender.create(network)
    deaf.join(network, "deaf")
    for _ in range(2000):
        sender.offer(network, deaf.key, "a" * 16000)
    sender.request("Ping")
    codes = {m["payload"]["code"] for m in sender.notices if m["type"] == "Error"}
    check(codes == {"rate_limited"}, f"a flood to one that does not read was answered by {codes}")
    return sender, deaf


def resident_kb(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def scenario(lab):
    server = Server(lab, tls="off").start()
    stranger = lab.public("stranger", 77)
    rng = random.Random(1)
    with stranger:
        logs_in(server)
        before = resident_kb(server.process)
        bad_frames(server, rng)
        bad_heads(server, rng)
        long_messages(server)
        flooded = flood_one_that_does_not_read(server)
    queued = server.stats()["counters"]["queued_bytes"]
    check(1 << 20 < queued < 8 << 20, f"{queued} bytes wait for one connection")
    with stranger:
        for client in flooded:
            client.close()
        worst = slow_ones(server)
        logs_in(server)
    grown = resident_kb(server.process) - before
    check(server.process.poll() is None, "the server ended")
    # Sanitizers keep what was freed.
    check(grown <= 20 << 10 or lab.slow > 1, f"the server grew by {grown} kB")
    check(server.stop() == 0, "the server did not end well")
    return f"login beside {SLOW_SOCKETS} slow connections at most {worst * 1000:.0f} ms, {grown} kB more"
