# SPDX-License-Identifier: MIT
"""What members can do to the server and to each other: too long messages, floods to one that does not read, a message that never
ends, too many connections from one address. Others go on.

    stranger (public), other (public) -- inet -- server
"""

import os
import socket
import sys
import time

import load
from govpn import Server
from lab import check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

TIME_LIMIT_S = 90
CUT_S = 10
BLOCK_MAX = 1024
FIRST_MAX, MESSAGE_MAX = 8192, 524288  # bytes of a message, before and after login
PAGES_BURST, PAGES_S = 200, 10  # pages of one address


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


def long_messages(server):
    """Above the limits: refused with a code, before and after login. By one byte: the server does not wait for the rest of a
    longer one, and the answer may be lost with the connection."""
    client = sigclient.Client(server.url)
    client.expect("Challenge")
    client.send_frame(1, b" " * (FIRST_MAX + 1))
    check(client.expect("Error")["code"] == "too_big", "a long message before login")
    client = sigclient.Client(server.url)
    client.login()
    client.send_frame(1, b" " * (MESSAGE_MAX + 1))
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


def never_ends(server):
    """A message of a member that begins and then gets a byte now and then."""
    client = sigclient.Client(server.url)
    client.login()
    client.socket.sendall(bytes([0x81, 0xfe, 0xff, 0x00]) + bytes(4) + b"{")
    return client


def one_address(lab, server):
    """As many connections as one address may have; gives how many that were."""
    socks = []
    try:
        for _ in range(BLOCK_MAX + 200):
            socks.append(socket.create_connection((server.address, server.port), 5))
        for sock in socks:
            sock.setblocking(False)
        # They are accepted in their order, some at a time: all were when the last one is closed.
        lab.wait(lambda: not is_open(socks[-1]), 5, "the last connection of one address is refused")
        return lab.wait(lambda: within_block(sum(is_open(sock) for sock in socks)), 5,
                        f"no more than {BLOCK_MAX} connections of one address")
    finally:
        for sock in socks:
            sock.close()


def within_block(count):
    return count if count <= BLOCK_MAX else None


def is_open(sock):
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def get_as(node, port, forwarded):
    """Status of a page that a proxy on the server's machine asks for."""
    with node:
        sock = socket.create_connection(("127.0.0.1", port), 5)
    line = f"X-Forwarded-For: {forwarded}\r\n" if forwarded else ""
    sock.sendall(f"GET /stats HTTP/1.1\r\nHost: x\r\n{line}Connection: close\r\n\r\n".encode())
    head = sock.recv(65536).split()
    sock.close()
    return head[1].decode() if len(head) > 1 else ""


def asks_until_limited(node, port):
    """One client asks for pages through the proxy. The limit grows while it asks."""
    start = time.monotonic()
    given = 0
    while (status := get_as(node, port, f"192.0.2.{given % 250}, 198.51.100.1")) == "200":
        given += 1
        seconds = time.monotonic() - start
        check(given <= PAGES_BURST + PAGES_S * seconds + 1, f"{given} pages of one client behind a proxy in {seconds:.1f} s")
        check(seconds < 20, f"too slow to reach a limit: {given} pages in {seconds:.1f} s")
    check(status == "429", f"page {given + 1} of one client behind a proxy: {status}")
    check(given >= PAGES_BURST, f"only {given} pages of one client behind a proxy")


def behind_a_proxy(lab):
    """The client's address counts, as the proxy says it last; whoever writes more before it gains nothing."""
    server = Server(lab, address="127.0.0.1", port=9000, tls="off", options=("--stun", "off"))
    server.data += "-proxied"
    server.start()
    asks_until_limited(server.node, 9000)
    check(get_as(server.node, 9000, "198.51.100.2") == "200", "another client is held up")
    check(get_as(server.node, 9000, "nonsense") == "400", "an address that is none was taken")
    check(get_as(server.node, 9000, "1" * 400) == "400", "a line that is too long was taken")
    check(get_as(server.node, 9000, None) == "200", "the machine itself is refused")
    check(server.stop() == 0, "the server behind a proxy did not end well")


def cut_after(node, clients, limit_s):
    start = time.monotonic()
    for client in clients:
        with node:
            check(is_closed(client.socket, limit_s), "was not cut")
    return time.monotonic() - start


def scenario(lab):
    server = Server(lab, tls="off").start()
    stranger, other = lab.public("stranger", 77), lab.public("other", 78)
    with stranger:
        logs_in(server)
        before = load.resident_kb(server.process)
        long_messages(server)
        sender, deaf = flood_one_that_does_not_read(server)
        endless = never_ends(server)
    queued = server.stats()["counters"]["queued_bytes"]
    check(1 << 20 < queued < 8 << 20, f"{queued} bytes wait for one connection")
    with other:
        worst = max(logs_in(server) for _ in range(5))
    # Whoever does not read for so long is not waited for; what was on its way is read first.
    took = cut_after(stranger, [endless], CUT_S + 4)
    lab.wait(lambda: server.stats()["counters"]["queued_bytes"] == 0, CUT_S + 4, "the deaf one is cut")
    sender.close()
    deaf.close()
    with stranger:
        many = one_address(lab, server)
        check(many >= BLOCK_MAX * 9 // 10, f"only {many} connections of one address")
    with other:
        worst = max(worst, logs_in(server))
    grown = load.resident_kb(server.process) - before
    check(server.process.poll() is None, "the server ended")
    # Sanitizers keep what was freed.
    check(grown <= 20 << 10 or lab.slow > 1, f"the server grew by {grown} kB")
    check(server.stop() == 0, "the server did not end well")
    behind_a_proxy(lab)
    return (f"a message that does not end was cut after {took:.0f} s, {many} connections of one address, others log in "
            f"within {worst * 1000:.0f} ms, {grown} kB more")
