# SPDX-License-Identifier: MIT
"""Guessing passwords: a network that exists cannot be told from one that does not, by answer or by time, and the limits outlive
kill -9.

    strangers (100.64.0.0/16) -- inet -- server
"""

import os
import sys

import load
from govpn import Server
from lab import check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sigclient

LONG_TIME_LIMIT_S = 900
DIFFERENCE = 0.2  # of the medians, as a share of the longer one
PASSWORD = 2  # kind of invite (protocol.md 3)


def refused(client, network, invite):
    try:
        client.join(network, "guest", invite)
    except sigclient.Refused as why:
        return why.code
    return "joined"


def limits(server, node):
    """Five guesses, whatever happens to the server in between."""
    owner = sigclient.Key()
    network = sigclient.Network(owner)
    password = sigclient.Key()
    network.invites[password.public] = (0, 0, PASSWORD)
    network.epoch, network.previous = 0, bytes(32)
    network.sign()
    with node:
        client = sigclient.Client(server.url, owner)
        client.login()
        client.create(network)
    for i in range(5):
        with node:
            client = sigclient.Client(server.url)
            client.login()
            check(refused(client, network, sigclient.Key()) == "invite_refused", "a wrong password")
        if i % 2 == 0:
            server.kill9()
            server.start()
    with node:
        client = sigclient.Client(server.url)
        client.login()
        check(refused(client, network, password) == "rate_limited", "the sixth was tested, and was right")
        check(refused(client, network, sigclient.Key()) == "rate_limited", "the seventh was tested")
        # Who has the link is not held up.
        check(refused(client, network, network.invite) == "joined", "the link does not work any more")


def scenario(lab):
    server = Server(lab, tls="off").start()
    strangers = load.strangers(lab)
    found = load.run(strangers, server, "guess", 10000 if lab.long else 2000)
    check(found["not_refused"] == 0, f"a guess was not refused: {found}")
    # The test of a password is most of an answer: one that is left out shows as far more than this.
    difference = abs(found["known_ms"] - found["unknown_ms"]) / max(found["known_ms"], found["unknown_ms"])
    check(difference <= DIFFERENCE, f"the time tells which networks exist: {found}")
    limits(server, strangers)
    return (f"medians of {found['guesses']} answers: {found['known_ms']:.2f} ms where the network exists, "
            f"{found['unknown_ms']:.2f} ms where not")
