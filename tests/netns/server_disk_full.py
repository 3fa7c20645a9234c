# SPDX-License-Identifier: MIT
"""No room on the server's disk, nor for its log: changes are refused, what is there goes on, and it recovers by itself.

    stranger (public) -- inet -- server
"""

import os
import sys

from govpn import Server
from lab import check, command

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

ROOM_KB = 512


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass


def scenario(lab):
    server = Server(lab, tls="off")
    os.makedirs(server.data)
    command("mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k,mode=700", "disk", server.data)
    # Its log is on the same disk.
    server.process = server.node.start("sh", "-c", f"exec \"$@\" 2>{server.data}/log", "sh", *server.command(), log=server.log)
    lab.wait(server.answers, 10, "the server answers")
    node = lab.public("stranger", 77)
    with node:
        owner, member = sigclient.Client(server.url), sigclient.Client(server.url)
        owner.login()
        member.login()
    network = sigclient.Network(owner.key)
    owner.create(network)
    fill(f"{server.data}/filler")
    check(os.statvfs(server.data).f_bavail == 0, "the disk is not full")
    why = None
    for i in range(200):  # until the last page of the log is used
        try:
            member.join(network, f"m{i}")
            member.leave(network)
        except sigclient.Refused as refused:
            why = refused
            break
    check(why is not None and why.code == "server_error", f"joining on a full disk: {why}")
    check("nothing was changed" in str(why), f"the text says: {why}")
    check(owner.connect(network)["computer_ip"] == "10.77.1.1", "reading does not go on")
    check(server.health() == "OK\n", "not healthy")
    owner.notices.clear()
    os.unlink(f"{server.data}/filler")
    joined = member.join(network, "later")
    check(len(joined["computers"]) == 2, f"{len(joined['computers'])} members after recovery")
    check(server.stop() == 0, "the server did not end well")
    return str(why)
