#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""goVPN from end to end on one machine: a server and three computers, two of them behind NAT routers.

            server 203.0.113.10       the Internet (203.0.113.0/24)
                   |_______________________|_____________________________
                            |                        |                   |
                  router 203.0.113.101     router 203.0.113.102   carol 203.0.113.103
                  (port-restricted NAT)    (full-cone NAT)
                            |                        |
                  alice 192.168.1.2        bob 192.168.2.2

usage: demo.py [--build DIR] [--keep]
"""

import argparse
import ctypes
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--uts"]
END_OF_SHOW = "demo: end of show\n"
FILE_BYTES = 100_000_000


class Show:
    """Prints the steps."""

    def __init__(self):
        self.start, self.number = time.monotonic(), 0

    def step(self, title):
        self.number += 1
        print(f"\n{self.number:2}. {title}", flush=True)

    @staticmethod
    def say(text):
        for line in str(text).rstrip().splitlines():
            print(f"    {line}", flush=True)


def all_pings(computers, addresses, say):
    for a in computers:
        for b in computers:
            if a is not b:
                out = a.node.run("ping", "-n", "-q", "-c", "3", "-i", "0.2", addresses[b]).stdout
                rtt = re.search(r"= [\d.]+/([\d.]+)/", out)[1]
                say(f"{a.name:>6} -> {b.name:<6} {addresses[b]:<15} 3 of 3 answered, {rtt} ms")


def send_marker(source, target, address, marker):
    """One UDP datagram with the marker, through the tunnel."""
    with target.node:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((address, 4000))
    receiver.settimeout(5)
    with source.node:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(marker, (address, 4000))
    return receiver.recv(100) == marker


def check_captures(check, outside, tunnel, marker, say):
    """What stood on the Internet's wires from the first packet on, and what on the tunnel interface."""
    left_out = sum(c.stop() for c in (*outside, tunnel))
    check(left_out == 0, f"{left_out} frames are missing in the captures")
    server = "203.0.113.10"
    between = [d for c in outside for d in c.datagrams() if server not in (d.source[0], d.target[0])]
    kinds = {"STUN": sum(d.is_stun() for d in between), "DTLS": sum(d.is_dtls() for d in between)}
    check(kinds["DTLS"] > 0 and sum(kinds.values()) == len(between), f"{len(between)} UDP payloads, of these {kinds}")
    check(tunnel.has(marker), "the marker is not in the capture on the tunnel interface")
    check(not any(c.has(marker) for c in outside), "the marker stands outside in the clear")
    say(f"{len(between)} UDP payloads between the computers: {kinds['STUN']} STUN, {kinds['DTLS']} DTLS, 0 others")
    say(f"marker {marker.hex()[:16]}...: on the tunnel interface yes, in "
        f"{sum(c.count for c in outside)} frames outside no")


# Python's own HTTP server asks the resolver for its name first, which takes long where none can be reached.
WEB_SERVER = """
import functools, http.server, socketserver, sys
class Server(http.server.ThreadingHTTPServer):
    server_bind = socketserver.TCPServer.server_bind
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
Server((sys.argv[1], 8000), handler).serve_forever()
"""


def fetch_file(lab, check, source, target, address, say):
    folder = "/run/lab/www"
    os.makedirs(folder)
    digest = hashlib.sha256()
    with open(f"{folder}/file", "wb") as f:
        for _ in range(FILE_BYTES // 1_000_000):
            block = os.urandom(1_000_000)
            digest.update(block)
            f.write(block)
    web = source.node.start("python3", "-c", WEB_SERVER, address, folder, log="http")
    url = f"http://{address}:8000/file"
    lab.wait(lambda: target.node.run("curl", "-sI", url, check_code=False).returncode == 0, 10, "the HTTP server answers")
    start = time.monotonic()
    target.node.run("curl", "-s", "-f", "-o", "/run/lab/fetched", url, timeout_s=200)
    seconds = time.monotonic() - start
    with open("/run/lab/fetched", "rb") as f:
        got = hashlib.file_digest(f, "sha256").hexdigest()
    check(got == digest.hexdigest(), f"SHA-256 {got} is not {digest.hexdigest()}")
    say(f"100 MB in {seconds:.1f} s ({FILE_BYTES * 8e-6 / seconds:.0f} Mbit/s), SHA-256 {got[:16]}... is right")
    web.kill()
    web.wait()


def run_iperf(lab, source, target, address, say):
    server = target.node.start("iperf3", "-s", "-B", address, log="iperf3-server")
    lab.wait(lambda: f"{address}:5201" in target.node.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
    out = source.node.run("iperf3", "-c", address, "-t", "5", "-i", "0", "-f", "m").stdout
    say("\n".join(line for line in out.splitlines() if line.endswith(("sender", "receiver"))))
    server.kill()
    server.wait()


def perform(args):
    """In the namespaces: the whole show."""
    sys.path.insert(0, HERE)
    os.environ["GOVPN_BUILD"] = os.path.abspath(args.build)
    from capture import Capture
    from govpn import Computer, Server, program, wait_mesh
    from lab import Lab, check

    show = Show()
    say = show.say
    lab = Lab()
    try:
        show.step("A small Internet: a server, two homes behind different NAT routers, a public computer")
        alice = Computer(lab, lab.home("port", name="alice"))
        bob = Computer(lab, lab.home("cone", name="bob"))
        carol = Computer(lab, lab.home("open", name="carol"))
        computers = [alice, bob, carol]
        outside = [Capture(lab.inet, port) for port in ("p-r1", "p-r2", "p-carol")]
        for c in computers:
            say(f"{c.name:<6} {c.node.addresses()['eth0'][0]}")

        show.step("govpn-server with its embedded database, govpnd on each computer")
        server = Server(lab).start()
        say(f"{server.url}/health: {server.health().strip()}")
        for c in computers:
            c.start().ok("set", "name", c.name)

        show.step("alice creates a network; bob joins by link, carol by code and password")
        password = secrets.token_urlsafe(12)
        made = alice.create("demo", server, password=password)
        say(f"network {made['id']}, code {made['code']}, subnet {made['subnet']}")
        say(f"invite link {made['invite']}")
        bob.join(made["invite"])
        carol.join_code(made["code"], server, password)
        addresses = wait_mesh(lab, computers, 20)
        for c in computers:
            say(f"{c.name:<6} {addresses[c]}")

        show.step("Every pair pings")
        all_pings(computers, addresses, say)

        show.step("What the Internet sees")
        marker = secrets.token_bytes(32)
        tunnel = Capture(alice.node, next(iter(alice.interfaces())), ethernet=False)
        check(send_marker(bob, alice, addresses[alice], marker), "the marker did not arrive")
        check_captures(check, outside, tunnel, marker, say)

        show.step("A 100 MB file over HTTP, from alice to bob, through the tunnel")
        fetch_file(lab, check, alice, bob, addresses[alice], say)

        show.step("iperf3 from carol to bob")
        run_iperf(lab, carol, bob, addresses[bob], say)

        show.step("govpn status, as alice sees it")
        say(alice.node.run(program("govpn"), "--socket", alice.socket, "status").stdout)

        if not args.keep:
            show.step("Everything ends")
            for c in computers:
                check(c.stop() == 0, f"govpnd of {c.name} did not end well")
                check(not c.interfaces(), f"{c.name} still has {c.interfaces()}")
            check(server.stop() == 0, "govpn-server did not end well")
            say("daemons and server stopped, tunnel interfaces gone; the namespaces end with this program")
        print(f"\nThe demo passed in {time.monotonic() - show.start:.0f} s.", flush=True)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        print(lab.tails(), "\nThe demo failed.", flush=True)
        os._exit(1)
    print(END_OF_SHOW, end="", flush=True)
    if args.keep:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        while True:
            signal.pause()
    os._exit(0)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def first_child(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def how_to_enter(pid, build):
    print("\nIt goes on. To be on one of the computers:")
    for name in ("alice", "bob", "carol"):
        print(f"    sudo nsenter -t {pid} -m -p -n env GOVPN_SOCKET=/run/lab/{name}.sock "
              f"PATH={os.path.abspath(build)}/src/apps/govpn:$PATH ip netns exec {name} bash")
    print("    then for example: govpn status; govpn list; ping ADDRESS")
    print(f"To end it all: sudo kill {pid}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--inside", action="store_true")
    args = parser.parse_args()
    if args.inside:
        perform(args)
    show = subprocess.Popen(
        UNSHARE + [sys.executable, os.path.abspath(__file__), "--inside", "--build", args.build] + ["--keep"] * args.keep,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=None if args.keep else die_with_parent,
    )
    passed = False
    try:
        for line in show.stdout:
            if line == END_OF_SHOW:
                passed = True
                break
            print(line, end="", flush=True)
    finally:
        if not (passed and args.keep):
            # Ends by itself when it passed; an interrupted or failed one is ended here, with all inside.
            if not passed:
                show.kill()
            show.wait()
    if passed and args.keep:
        how_to_enter(first_child(show.pid), args.build)
    return not passed


if __name__ == "__main__":
    sys.exit(main())
