# SPDX-License-Identifier: MIT
"""Nobody reads the pipe behind the daemon's stderr, as when its terminal is paused, and it says much (--log-level debug): it
answers, meets computers and carries packets all the same, and tells how many lines it dropped once somebody reads again.

    h1, h2 (public) -- inet -- server
"""

import fcntl
import os
import re

from govpn import Computer, Server, wait_mesh
from lab import check

PIPE_BYTES = 4096
LINES = 10  # as many and more are dropped


def fill(fd):
    """To the last byte; nobody else may see that this writer does not wait."""
    own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            os.write(own, b"\n")
    except BlockingIOError:
        pass
    finally:
        os.close(own)


def scenario(lab):
    server = Server(lab).start()
    a, b = Computer(lab, lab.public("h1", 11)), Computer(lab, lab.public("h2", 12)).start()
    reader, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    a.start(stderr=end)
    fill(end)
    made = a.create("stalled", server)
    b.join(made["invite"])
    addresses = wait_mesh(lab, [a, b])
    check(a.node.ping(addresses[b], 5) and b.node.ping(addresses[a], 5), "pings were lost")
    check(not fcntl.fcntl(end, fcntl.F_GETFL) & os.O_NONBLOCK, "the pipe, which others may share, was changed")

    os.read(reader, PIPE_BYTES)
    a.ok("status")
    text = os.read(reader, PIPE_BYTES)
    lost = sum(map(int, re.findall(rb"^\S+Z warn  log: log\.lost lines=(\d+)$", text, re.M)))
    check(lost >= LINES, f"the lost lines are not told: {text[-1000:]!r}")
    os.close(reader)  # a reader that goes away is no reason to stop either
    check(a.node.ping(addresses[b], 2), "pings were lost without a reader")
    check(a.stop() == 0, "govpnd does not end well")
    return f"{lost} lines dropped while nobody read them; every ping answered"
