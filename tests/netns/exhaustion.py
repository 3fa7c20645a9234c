# SPDX-License-Identifier: MIT
"""Descriptors run out, and none leaks: with a limit too low to start there is one clear line; when connections to the socket
take them all, the daemon does not spin, tunnels go on, and it answers again; 1,000 (long: 10,000) connections to the
socket and 20 (long: 200) tunnels made and taken away leave as many as before. Without memory it ends with a clear line.

    h1 (public), h2 (public) -- inet -- server
"""

import resource
import socket
import time

from govpn import FAILED, OK, Computer, group, program, wait_mesh
from lab import RUN, check
from process import busiest, descriptors

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 900
SPIN_S, SPIN_SHARE = 2, 0.6


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(5)
    s.connect(path)
    return s


def too_low(lab, node):
    """Limits at which it cannot start. Returns what it says."""
    said = {}
    limits = [(f"{n} descriptors", f"--nofile={n}") for n in (8, 20, 32, 63)]
    for what, limit in (*limits, ("26 MB", f"--as={26 << 20}")):
        done = node.run("prlimit", limit, program("govpnd"), "--state", f"{RUN}/low-state", "--socket", f"{RUN}/low.sock",
                        check_code=False, timeout_s=20)
        lines = [line for line in done.stderr.splitlines() if "socket.group" not in line]  # said at every start here
        check(done.returncode == FAILED and len(lines) == 1, f"{what}: {done.returncode}, {done.stderr!r}")
        check(not node.addresses().get("govpn0"), f"{what}: an interface is left")
        said[what] = lines[0]
    return said


def exhausted(lab, server, a, b, addresses):
    """Its limit is set to what it has and a few more, and connections to its socket take those."""
    pid = b.process.pid
    before = descriptors(pid)
    limit = max(before) + 1 + 5
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    held = [connect(b.socket) for _ in range(32)]
    lab.wait(lambda: len(descriptors(pid)) >= limit - 1, 5, f"{limit} descriptors are used ({len(descriptors(pid))})")
    share = busiest(pid, SPIN_S)
    check(share < SPIN_SHARE, f"a thread wanted {share:.0%} of a processor without descriptors")
    check(a.reaches(addresses[b], 1), "the tunnel stopped without descriptors")
    # The server goes and comes back while there is no descriptor for a connection to it.
    server.kill9()
    server.start()
    time.sleep(SPIN_S)
    for s in held:
        s.close()
    lab.wait(lambda: b.run("list").code == 0, 10, "the daemon answers again")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    lab.wait(lambda: b.network()["server"]["connected"], 40, "connected to the server again")
    lab.wait(lambda: len(descriptors(pid)) <= len(before), 10, "descriptors are given back")
    return share


def without_memory(lab, server, a, b, addresses):
    """Not a byte more of address space: the tunnel goes on, commands and joins fail or not, and afterwards all is well."""
    pid = b.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        now = int(f.read().split()[0]) * resource.getpagesize()
    net = b.network()["id"]
    resource.prlimit(pid, resource.RLIMIT_AS, (now, hard))
    code = ("join", "AAAAAAAAAA", "--server", server.url, *server.trust(), "--password-file", b.secret("correct horse 47"))
    failed = 0
    for words in (("status",), code, ("invite", net), ("list",), code) * 4:
        failed += b.run(*words).code != OK
    guest = Computer(lab, lab.home("port"), name="guest").start()
    guest.join(a.ok("invite", a.network()["id"]).json()["invite"])
    check(b.reaches(addresses[a], 1), "the tunnel stopped without memory")
    server.kill9()
    server.start()
    lab.wait(lambda: a.network()["server"]["connected"], 40, "the other one is connected to the server again")
    b.run("down", net)
    resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))
    b.ok("up", net)
    wait_mesh(lab, [a, b, guest], 40)
    check(b.process.poll() is None and b.process.pid == pid, "the daemon ended")
    guest.stop()
    return failed


def no_leak(lab, a, b, addresses):
    count = 10000 if lab.long else 1000
    b.wait_reaches(addresses[a])
    pid = b.process.pid
    before = descriptors(pid)
    for i in range(count):
        s = connect(b.socket)
        if i % 3 == 0:
            s.sendall(b'{"verb":"list"}\n')
        if i % 6 == 0:
            s.recv(4096)
        s.close()
    net = b.network()["id"]
    for _ in range(200 if lab.long else 20):
        b.ok("down", net)
        b.ok("up", net)
    b.wait_reaches(addresses[a])
    lab.wait(lambda: len(descriptors(pid)) <= len(before), 15,
             f"no descriptor more than {sorted(before.values())}, now {sorted(descriptors(pid).values())}")
    return count, len(before)


def scenario(lab):
    server, (a, b), addresses = group(lab, ["open", "open"])
    said = too_low(lab, lab.home("open"))
    share = exhausted(lab, server, a, b, addresses)
    failed = without_memory(lab, server, a, b, addresses)
    count, had = no_leak(lab, a, b, addresses)
    return (f"{had} before and after {count} connections; {share:.0%} of a core without any; {failed} of 20 commands failed without memory; at start: "
            f"{said['63 descriptors']}; {said['26 MB']}")
