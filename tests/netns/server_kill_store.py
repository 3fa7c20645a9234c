# SPDX-License-Identifier: MIT
"""The server is killed at random moments while computers create networks, join, rename themselves, leave, and an owner signs
newer documents, all without a pause: nothing that was acknowledged is lost, no address is given twice, the database is whole,
and it starts again each time within 2 s.

    strangers (100.64.0.0/16) -- inet -- server
"""

import os
import random
import sqlite3
import sys
import threading
import time

import load
from govpn import Server
from lab import check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

TIME_LIMIT_S = 90
LONG_TIME_LIMIT_S = 900
TAGS = {"slow"}
WORKERS = 6
ENDS = (OSError, sigclient.Closed)
# An answer that is no acknowledgement, and no fault: the limits of one address, or what the last kill left undone.
SOFT = {"rate_limited", "shutting_down"}


class Worker(threading.Thread):
    """Asks again and again, until the server is gone. `sure` has what was acknowledged; `maybe` what one request that was not
    answered may have done."""

    def __init__(self, what, url, source):
        super().__init__(daemon=True)
        self.what, self.url, self.source = what, url, source
        self.done, self.error = 0, None

    def run(self):
        try:
            client = sigclient.Client(self.url, self.what.key, source=self.source)
            client.login()
            while True:
                self.what.ask(client)
                self.done += 1
        except ENDS:
            pass
        except sigclient.Refused as why:
            if why.code not in SOFT:
                self.error = why


class Member:
    """Joins, renames itself, leaves."""

    def __init__(self, network, name):
        self.key, self.network, self.name = sigclient.Key(), network, name
        self.sure = self.maybe = None  # (label, address); None: not in
        self.names = 0

    def ask(self, client):
        if self.sure is None:
            label = self.label()
            self.maybe = (label, None)
            answer = client.join(self.network, label)
            self.sure = (label, answer["computer_ip"])
        elif self.names % 3 != 0:
            label = self.label()
            self.maybe = (label, self.sure[1])
            client.rename(self.network, label, self.names)
            self.sure = self.maybe
        else:
            self.maybe = None
            client.leave(self.network)
            self.sure = None
            self.names += 1
        self.maybe = self.sure

    def label(self):
        self.names += 1
        return f"{self.name}-{self.names}"

    def verify(self, listed, _):
        have = listed.get(sigclient.b64(self.key.public))
        for want in (self.sure, self.maybe):
            if want is None and have is None or want and have and want[0] == have[0] and want[1] in (None, have[1]):
                self.sure = self.maybe = have
                return
        check(False, f"{self.name}: acknowledged {self.sure}, or {self.maybe}; the server has {have}")


class Owner:
    """Signs newer documents of the network that the others are in."""

    def __init__(self, network):
        self.key, self.network = network.owner, network
        self.sure = self.maybe = network.epoch

    def ask(self, client):
        self.network.name = f"party {self.network.epoch}"
        self.network.sign()
        self.maybe = self.network.epoch
        client.update(self.network)
        self.sure = self.maybe

    def verify(self, _, rows):
        epoch = dict(rows)[self.network.id]
        check(self.sure <= epoch <= self.maybe, f"epoch {self.sure} was acknowledged, the server has {epoch}")
        self.sure = self.maybe = epoch


class Creator:
    """Creates networks and deletes them."""

    def __init__(self):
        self.key = sigclient.Key()
        self.sure, self.maybe = None, None  # the one network
        self.gone = set()  # ids of those whose deletion was acknowledged

    def ask(self, client):
        if self.sure is None:
            network = sigclient.Network(self.key)
            self.maybe = network
            client.create(network)
        else:
            self.maybe = None
            client.leave(self.sure)
            self.gone.add(self.sure.id)
        self.sure = self.maybe

    def verify(self, _, rows):
        ids = {row[0] for row in rows}
        check(not self.gone & ids, "a network whose deletion was acknowledged is back")
        had = self.sure is not None and self.sure.id in ids
        has = self.maybe is not None and self.maybe.id in ids
        check(self.sure is None or had or self.maybe is not self.sure, "an acknowledged network is lost")
        self.sure = self.maybe = self.maybe if has else self.sure if had else None


def database(server):
    """(rows of networks, what the database says of itself), read beside the running server."""
    db = sqlite3.connect(f"file:{server.data}/govpn-server.db?mode=ro", uri=True)
    try:
        whole = db.execute("PRAGMA integrity_check").fetchone()[0]
        twice = db.execute("SELECT count(*) FROM (SELECT 1 FROM member GROUP BY network, address HAVING count(*) > 1)")
        lost = db.execute("SELECT count(*) FROM member m WHERE NOT EXISTS (SELECT 1 FROM lease l WHERE l.network = m.network"
                          " AND l.key = m.key AND l.address = m.address AND l.released_unix_s = 0)")
        check(whole == "ok", f"the database is damaged: {whole}")
        check(twice.fetchone()[0] == 0, "an address is held twice")
        check(lost.fetchone()[0] == 0, "a member has no lease")
        return db.execute("SELECT id, epoch FROM network").fetchall()
    finally:
        db.close()


def verify(server, node, network, parts):
    with node:
        client = sigclient.Client(server.url, network.owner)
        client.login()
        listed = client.connect(network)["computers"]
        client.close()
    addresses = [c["ip"] for c in listed]
    check(len(addresses) == len(set(addresses)), f"an address was given twice: {addresses}")
    by_key = {c["key"]: (sigclient.label_of(c["admission"]), c["ip"]) for c in listed}
    rows = database(server)
    for part in parts:
        part.verify(by_key, rows)


def scenario(lab):
    server = Server(lab, tls="off").start()
    node = load.strangers(lab)
    rng = random.Random(2)
    network = sigclient.Network(sigclient.Key())
    with node:
        client = sigclient.Client(server.url, network.owner)
        client.login()
        client.create(network)
        client.close()
    parts = [Member(network, f"m{i}") for i in range(WORKERS)] + [Owner(network), Creator()]
    rounds, done, starts, source = 200 if lab.long else 20, 0, [], 0
    for _ in range(rounds):
        workers = []
        with node:  # threads keep the namespace they were started in
            for part in parts:
                source += 1  # others each time: the limits count by address
                workers.append(Worker(part, server.url, f"100.64.{source // 250}.{source % 250 + 1}"))
                workers[-1].start()
        time.sleep(rng.uniform(0.02, 0.6))
        server.kill9()
        for worker in workers:
            worker.join()
            check(worker.error is None, f"refused: {worker.error}")
        begin = time.monotonic()
        server.start()
        starts.append(time.monotonic() - begin)
        verify(server, node, network, parts)
        done += sum(worker.done for worker in workers)
    check(done > rounds, f"only {done} changes were made")
    check(max(starts) <= 2 * lab.slow, f"a start took {max(starts):.1f} s")
    return f"{rounds} kills, {done} acknowledged changes, start at most {max(starts):.2f} s"
