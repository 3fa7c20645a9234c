# SPDX-License-Identifier: MIT
"""A database in trouble: locked by another program, removed, on a file system that cannot be written, with a damaged page, a
folder in its place. Each time a clear refusal, no wrong answer, and those who are in go on.

    stranger (public) -- inet -- server
"""

import os
import sqlite3
import subprocess
import sys
import time

from govpn import Server, program
from lab import check, command

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

LONG_TIME_LIMIT_S = 120
DENIED, BAD_DATA = 4, 5


def login(node, server, key=None):
    with node:
        client = sigclient.Client(server.url, key)
        client.login()
    return client


def refusal(client, network, label):
    """(code, the answer's time) of a join that must fail."""
    start = time.monotonic()
    try:
        client.join(network, label)
    except sigclient.Refused as why:
        return why, time.monotonic() - start
    check(False, f"{label} joined")


def locked(lab, server, node, network, owner):
    """Another program holds the database for 30 s (short: 3 s)."""
    other = sqlite3.connect(f"{server.data}/govpn-server.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    client = login(node, server)
    until = time.monotonic() + (30 if lab.long else 3)
    refused = 0
    while time.monotonic() < until:
        why, took = refusal(client, network, "locked")
        check(why.code == "server_error" and why.payload["retry_after_s"] > 0, f"the answer was {why.payload}")
        check(took <= 1 * lab.slow, f"a refusal took {took:.1f} s")
        start = time.monotonic()
        check(owner.connect(network)["computer_ip"] == "10.77.1.1", "a member cannot connect")
        check(time.monotonic() - start <= 1 * lab.slow, "connecting took long")
        refused += 1
        time.sleep(0.5)
    other.execute("ROLLBACK")
    other.close()
    client.join(network, "unlocked")
    return refused


def removed(server, node, network, owner):
    """The file is moved away and back."""
    database = f"{server.data}/govpn-server.db"
    os.rename(database, database + ".away")
    client = login(node, server)
    why, _ = refusal(client, network, "removed")
    check(why.code == "server_error", f"the answer was {why}")
    check(server.health() is None, "healthy without a database")
    check(len(owner.connect(network)["computers"]) == 2, "a member cannot connect")
    os.rename(database + ".away", database)
    client.join(network, "found")
    check(server.health() == "OK\n", "not healthy with its database")


def refuses_to_start(server, code, *words):
    done = subprocess.run(server.node.wrap([program("govpn-server"), "--data", server.data, "--listen", server.listen,
                                            "--tls", "off"]), capture_output=True, text=True, timeout=20, check=False)
    check(done.returncode == code, f"exit code {done.returncode}: {done.stderr}")
    check(len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), f"it says {done.stderr!r}")


def damage(path):
    """A page of the members' table, which nothing needs at the start."""
    with sqlite3.connect(path) as db:
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'member'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with open(path, "r+b") as f:
        f.seek((page - 1) * size)
        f.write(b"\xff" * 100)


def scenario(lab):
    server = Server(lab, tls="off")
    os.makedirs(server.data)
    command("mount", "-t", "tmpfs", "-o", "mode=700", "disk", server.data)
    server.start()
    node = lab.public("stranger", 77)
    owner = login(node, server)
    network = sigclient.Network(owner.key)
    owner.create(network)
    refused = locked(lab, server, node, network, owner)
    removed(server, node, network, owner)
    check(server.stop() == 0, "the server did not end well")

    command("mount", "-o", "remount,ro", server.data)
    refuses_to_start(server, DENIED, server.data, "Read-only file system")
    command("mount", "-o", "remount,rw", server.data)
    server.start()
    owner = login(node, server, owner.key)
    check(len(owner.connect(network)["computers"]) == 3, "not all that joined are there")
    check(server.stop() == 0, "the server did not end well")

    database, good = f"{server.data}/govpn-server.db", f"{server.data}/good.db"
    os.rename(database, good)
    os.mkdir(database)
    refuses_to_start(server, DENIED, database, "Is a directory")
    os.rmdir(database)
    command("cp", good, database)
    damage(database)
    refuses_to_start(server, BAD_DATA, database, "damaged")
    command("cp", good, database)
    server.start()
    owner = login(node, server, owner.key)
    check(len(owner.connect(network)["computers"]) == 3, "the restored database has something else")
    check(server.stop() == 0, "the server did not end well")
    return f"{refused} joins refused while locked, members connected"
