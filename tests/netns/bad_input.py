# SPDX-License-Identifier: MIT
"""Every bad input gets one clear line and the documented exit code, and changes nothing.

    h1 (owner), h2, h3 (port NAT) -- inet -- server

The table is also the one of docs/testing.md: with GOVPN_WRITE_DOCS=1 the rows are written there.
"""

import os
import shutil
import sqlite3
import subprocess
import time

from docs import write_table
from govpn import (CONFLICT, FAILED, NO_DAEMON, NO_SERVER, NOT_ALLOWED, NOT_FOUND, OK, REFUSED, UNREACHABLE, USAGE,
                   Computer, Server, program, wait_mesh)
from lab import RUN, check

TIME_LIMIT_S = 120
PASSWORD = "correct horse 47"
NO_RIGHT = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--")
NO_DEVICE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
IN_USE, NO_DATABASE, NO_CERTIFICATE = 3, 5, 6  # of govpn-server


class Table:
    """Collects (what, program, exit code, message) and what was not as it should be."""

    def __init__(self):
        self.rows, self.wrong = [], []

    def row(self, what, name, want, code, text):
        """want: the exit code, or a tuple of codes."""
        lines = [line for line in text.splitlines() if line.strip()]
        message = lines[-1].strip() if lines else ""
        self.rows.append((what, name, code, message))
        if code not in (want if isinstance(want, tuple) else (want,)):
            self.wrong.append(f"{what}: exit code {code}, not {want}: {text.strip()}")
        if not message:
            self.wrong.append(f"{what}: says nothing")
        if len(lines) > 1:
            self.wrong.append(f"{what}: says {len(lines)} lines: {text.strip()}")

    def govpn(self, what, want, computer, *args, **more):
        before = sorted(computer.interfaces())
        result = computer.run(*args, form=(), **more)
        self.row(what, "govpn", want, result.code, result.err)
        if sorted(computer.interfaces()) != before:
            self.wrong.append(f"{what}: left the interfaces {sorted(computer.interfaces())}")
        return result

    def program(self, what, want, node, *cmd):
        """A daemon or server that must not start: it ends by itself, soon."""
        name = next(os.path.basename(c) for c in cmd if str(c).startswith(os.environ["GOVPN_BUILD"]))
        try:
            done = node.run(*cmd, check_code=False, timeout_s=10)
            # Log lines below "error" are not the message.
            lines = [line for line in done.stderr.splitlines() if " info " not in line and " debug " not in line]
            self.row(what, name, want, done.returncode, "\n".join(lines[-1:]))
        except subprocess.TimeoutExpired:
            self.wrong.append(f"{what}: {name} does not end")


def passwords_and_invites(lab, table, server, owner, guest, made):
    code = ("join", made["code"], "--server", server.url, *server.trust())
    table.govpn("wrong password", REFUSED, guest, *code, "--password-file", guest.secret("wrong horse 48"))
    table.govpn("missing password", USAGE, guest, *code)
    table.govpn("empty password", USAGE, guest, *code, "--password-file", guest.secret(""))
    table.govpn("unknown code", NOT_FOUND, guest, "join", "AAAAAAAAAA", *code[2:], "--password-file",
                guest.secret(PASSWORD))
    table.govpn("unknown network id (no other answer than to a wrong password)", REFUSED, guest, "join", "a" * 32,
                *code[2:], "--password-file", guest.secret(PASSWORD))
    expired = owner.ok("invite", made["id"], "--expires", "1s").json()["invite"]
    until = time.time() + 2.1
    lab.wait(lambda: time.time() > until, 10, "the invite expires")
    table.govpn("expired invite", REFUSED, guest, "join", expired)
    once = owner.ok("invite", made["id"], "--uses", "1").json()["invite"]
    other = Computer(lab, lab.home("open"), name="other").start()
    other.join(once)
    table.govpn("used-up invite", REFUSED, guest, "join", once)
    other.ok("leave", made["id"])
    revoked = owner.ok("invite", made["id"]).json()["invite"]
    other.join(revoked)
    address = other.ipv4()
    lab.wait(lambda: owner.peers().get(address), 10, "the owner sees the other one")
    owner.ok("kick", made["id"], owner.peers()[address]["label"])  # withdraws all invites
    table.govpn("revoked invite", REFUSED, guest, "join", revoked)
    table.govpn("link without a secret", USAGE, guest, "join", revoked.split("#")[0])
    table.govpn("link that is none", USAGE, guest, "join", "https://example/what")


def networks_and_names(lab, table, server, owner, guest, made):
    create = ("--server", server.url, *server.trust())
    table.govpn("network name with control characters", USAGE, guest, "create", "bad\x1b[31mname", *create)
    table.govpn("empty network name", USAGE, guest, "create", "", *create)
    table.govpn("network name of 65 bytes", USAGE, guest, "create", "x" * 65, *create)
    table.govpn("own name with control characters", USAGE, guest, "set", "name", "a\nb")
    table.govpn("subnet that conflicts with an own address", CONFLICT, guest, "create", "x", *create, "--subnet",
                "192.168.3.0/24")
    table.govpn("subnet larger than /16", USAGE, guest, "create", "x", *create, "--subnet", "10.0.0.0/8")
    table.govpn("subnet that is none", USAGE, guest, "create", "x", *create, "--subnet", "10.1.2.3.4/24")
    table.govpn("too short password", USAGE, guest, "create", "x", *create, "--password-file", guest.secret("short"))
    small = owner.create("tiny", server, "--subnet", "10.201.7.0/30")
    second = Computer(lab, lab.home("open"), name="second").start()
    second.join(small["invite"])
    table.govpn("full subnet", CONFLICT, guest, "join", small["invite"])
    table.govpn("unknown network in a command", NOT_FOUND, owner, "status", "nosuchnet")
    table.govpn("unknown peer", NOT_FOUND, owner, "ping", "nosuchpeer")
    table.govpn("kick by somebody who is not the owner", NOT_ALLOWED, second, "kick", small["id"], owner.ipv4(small["id"]))
    address = second.ipv4()
    owner.wait_reaches(address, 15)
    second.kill9()
    lab.wait(lambda: not owner.reaches(address, 0.2), 40, "the peer is gone")
    table.govpn("ping of a peer that is gone", UNREACHABLE, owner, "ping", address)
    check([n["id"] for n in guest.networks()] == [], f"the guest is in {[n['name'] for n in guest.networks()]}")


def servers(lab, table, server, guest):
    closed = f"https://{server.address}:9"
    table.govpn("server down", NO_SERVER, guest, "create", "x", "--server", closed, "--insecure")
    table.govpn("server that does not answer", NO_SERVER, guest, "create", "x", "--server", "https://203.0.113.99:8443",
                "--insecure")
    table.govpn("certificate that nobody vouches for", NO_SERVER, guest, "create", "x", "--server", server.url)
    pin = server.pin()
    wrong = ("A" if pin[0] != "A" else "B") + pin[1:]
    table.govpn("certificate with another pin", NO_SERVER, guest, "create", "x", "--server", server.url, "--pin", wrong)
    table.govpn("plain http to another machine", USAGE, guest, "create", "x", "--server", "http://203.0.113.10:8443")
    table.govpn("server address that is none", USAGE, guest, "create", "x", "--server", "ftp://example")


def command_line(table, guest):
    table.govpn("unknown flag", USAGE, guest, "list", "--nosuchflag")
    table.govpn("unknown verb", USAGE, guest, "frobnicate")
    table.govpn("no verb", USAGE, guest)
    table.govpn("missing argument", USAGE, guest, "leave")
    table.govpn("a user outside the group", NOT_ALLOWED, guest, "list", wrap=NOBODY)
    away = Computer(guest.lab, guest.node, name="away")
    table.govpn("daemon not running", NO_DAEMON, away, "list")


def daemons(lab, table, node, guest):
    daemon = program("govpnd")

    def start(name, *options, wrap=()):
        return (*wrap, daemon, "--state", f"{RUN}/{name}", "--socket", f"{RUN}/{name}.sock", *options)

    table.program("no right to make interfaces", NOT_ALLOWED, node, *start("d1", wrap=NO_RIGHT))
    table.program("no /dev/net/tun", FAILED, node, *start("d2", wrap=NO_DEVICE))
    table.program("second daemon on the same state", CONFLICT, node, daemon, "--state", guest.state, "--socket",
                  f"{RUN}/d3.sock")
    table.program("second daemon on the same socket", CONFLICT, node, daemon, "--state", f"{RUN}/d4", "--socket",
                  guest.socket)
    table.program("UDP port in use", CONFLICT, node, *start("d5", "--udp-port", "7777"))
    table.program("unknown flag", USAGE, node, *start("d6", "--nosuchflag"))
    table.program("UDP port that is none", USAGE, node, *start("d7", "--udp-port", "70000"))
    table.program("unknown log level", USAGE, node, *start("d8", "--log-level", "loud"))
    for name, what, spoil in (
        ("d9", "corrupt identity.key", lambda path: write(f"{path}/identity.key", b"\x00garbage\xff" * 3)),
        ("d10", "corrupt networks.json", lambda path: write(f"{path}/networks.json", b'{"networks": [')),
        ("d11", "networks.json of another program", lambda path: write(f"{path}/networks.json", b'{"colour": "red"}\n')),
        ("d12", "identity.key that others may read", lambda path: os.chmod(f"{path}/identity.key", 0o644)),
        ("d13", "identity.key of another user", lambda path: os.chown(f"{path}/identity.key", 65534, 65534)),
    ):
        shutil.copytree(guest.state, f"{RUN}/{name}", ignore=shutil.ignore_patterns("*lock*"))
        spoil(f"{RUN}/{name}")
        before = contents(f"{RUN}/{name}")
        table.program(what, FAILED, node, *start(name))
        if contents(f"{RUN}/{name}") != before:
            table.wrong.append(f"{what}: the files were changed")


def server_program(table, server):
    def start(name, *options):
        return (program("govpn-server"), "--data", f"{RUN}/{name}", "--tls", "off", *options)

    node = server.node
    table.program("port in use", IN_USE, node, *start("s1", "--listen", server.listen))
    table.program("STUN port in use", IN_USE, node, *start("s2", "--listen", "203.0.113.10:9000", "--stun", "203.0.113.10:3478"))
    table.program("unknown flag", USAGE, node, *start("s3", "--nosuchflag"))
    table.program("address that is none", USAGE, node, *start("s4", "--listen", "nowhere:port"))
    table.program("certificate file that is missing", NO_CERTIFICATE, node, program("govpn-server"), "--data", f"{RUN}/s5",
                  "--listen", "203.0.113.10:9000", "--stun", "203.0.113.10:9001", "--tls-cert", "/nosuch", "--tls-key",
                  "/nosuch")
    table.program("second server on the same data", IN_USE, node, program("govpn-server"), "--data", server.data,
                  "--listen", "203.0.113.10:9000", "--stun", "203.0.113.10:9001", "--tls", "off")
    free = ("--listen", "203.0.113.10:9000", "--stun", "203.0.113.10:9001")
    for name, what, spoil in (("s6", "database of a newer version", newer), ("s7", "corrupt database", garble)):
        shutil.copytree(server.data, f"{RUN}/{name}", ignore=shutil.ignore_patterns("*lock*"))
        spoil(database(f"{RUN}/{name}"))
        table.program(what, NO_DATABASE, node, *start(name, *free))


def database(folder):
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", "rb") as f:
            if f.read(15) == b"SQLite format 3":
                return f"{folder}/{name}"
    raise FileNotFoundError(f"no database in {folder}: {os.listdir(folder)}")


def newer(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()


def garble(path):
    for tail in ("-wal", "-shm"):
        if os.path.exists(path + tail):
            os.unlink(path + tail)
    write(path, b"this is no database" * 1000)


def write(path, content):
    with open(path, "wb") as f:
        f.write(content)
    os.chmod(path, 0o600)


def contents(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if "lock" not in name and os.path.isfile(f"{folder}/{name}"):
            with open(f"{folder}/{name}", "rb") as f:
                found[name] = f.read()
    return found


def scenario(lab):
    server = Server(lab).start()
    owner = Computer(lab, lab.home("open"), name="owner").start()
    node = lab.home("open")
    second = Computer(lab, node, name="member").start()
    guest = Computer(lab, lab.home("port"), name="guest", options=("--udp-port", "7777")).start()
    made = owner.create("party", server, password=PASSWORD)
    second.join(made["invite"])
    wait_mesh(lab, [owner, second])
    table = Table()
    servers(lab, table, server, guest)
    command_line(table, guest)
    passwords_and_invites(lab, table, server, owner, guest, made)
    networks_and_names(lab, table, server, owner, guest, made)
    check(guest.process.poll() is None, "the guest's daemon ended")
    daemons(lab, table, guest.node, guest)
    server_program(table, server)

    # Nothing of all that did harm.
    check(second.reaches(owner.ipv4(made["id"])), "the members lost each other")
    check(owner.run("status", made["id"]).code == OK, "the owner's daemon does not answer")
    if os.environ.get("GOVPN_WRITE_DOCS"):
        write_table("bad input", ("bad input", "program", "exit code", "message"),
                    [(what, f"`{name}`", code, message) for what, name, code, message in table.rows])
    check(not table.wrong, f"{len(table.wrong)} of {len(table.rows)}:\n" + "\n".join(table.wrong))
    return f"{len(table.rows)} bad inputs"
