# SPDX-License-Identifier: MIT
"""The server is killed at random moments while computers join and leave: nothing that was acknowledged is lost, no address
is given twice, and it starts again each time.

    stranger (public) -- inet -- server
"""

import os
import random
import sys
import threading
import time

from govpn import Server
from lab import check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

TIME_LIMIT_S = 90
TAGS = {"slow"}
ROUNDS = 25
WORKERS = 6


class Member(threading.Thread):
    """Joins and leaves, until the server is gone; remembers what was acknowledged."""

    def __init__(self, key, url, network, label):
        super().__init__(daemon=True)
        self.key, self.url, self.network, self.label = key, url, network, label
        self.address, self.sure, self.done = None, True, 0

    def connect(self):
        client = sigclient.Client(self.url, self.key)
        client.login()
        return client

    def run(self):
        try:
            client = self.connect()
            while True:
                self.sure = False
                if self.address is None:
                    self.address = client.join(self.network, self.label)["computer_ip"]
                else:
                    client.leave(self.network)
                    self.address = None
                self.sure = True
                self.done += 1
        except (OSError, sigclient.Closed):
            return
        except sigclient.Refused as why:
            if why.code != "rate_limited":
                raise


def start_in(node, members):
    """Threads keep the namespace they were started in."""
    with node:
        for member in members:
            member.start()


def verify(server, node, owner, network, members):
    with node:
        client = sigclient.Client(server.url, owner)
        client.login()
        listed = client.connect(network)["computers"]
        client.close()
    addresses = [c["ip"] for c in listed]
    check(len(addresses) == len(set(addresses)), f"an address was given twice: {addresses}")
    by_key = {c["key"]: c["ip"] for c in listed}
    for member in members:
        have = by_key.get(sigclient.b64(member.key.public))
        if member.sure:
            check(have == member.address, f"{member.label} was told {member.address}, the server has {have}")


def scenario(lab):
    server = Server(lab, tls="off").start()
    node = lab.public("stranger", 77)
    rng = random.Random(2)
    owner = sigclient.Key()
    network = sigclient.Network(owner)
    with node:
        client = sigclient.Client(server.url, owner)
        client.login()
        client.create(network)
        client.close()
    keys = [sigclient.Key() for _ in range(WORKERS)]
    held = [None] * WORKERS
    done, starts = 0, []
    for _ in range(ROUNDS):
        members = [Member(key, server.url, network, f"m{i}") for i, key in enumerate(keys)]
        for member, address in zip(members, held):
            member.address = address
        start_in(node, members)
        time.sleep(rng.uniform(0.02, 0.4))
        server.kill9()
        for member in members:
            member.join()
        begin = time.monotonic()
        server.start()
        starts.append(time.monotonic() - begin)
        verify(server, node, owner, network, members)
        done += sum(m.done for m in members)
        held = known(server, node, owner, network, keys)
    check(done > 50, f"only {done} changes were made")
    check(max(starts) <= 2 * lab.slow, f"a start took {max(starts):.1f} s")
    return f"{ROUNDS} kills, {done} changes, start at most {max(starts):.2f} s"


def known(server, node, owner, network, keys):
    """What each computer holds now, for the next round."""
    with node:
        client = sigclient.Client(server.url, owner)
        client.login()
        by_key = {c["key"]: c["ip"] for c in client.connect(network)["computers"]}
        client.close()
    return [by_key.get(sigclient.b64(key.public)) for key in keys]
