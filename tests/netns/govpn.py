# SPDX-License-Identifier: MIT
"""The programs under test: one server, and computers that each run a daemon and its command line."""

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.request

from lab import RUN, SERVER_IPV4, Failure, check

# Exit codes of govpn (README).
OK, FAILED, USAGE, NO_DAEMON, NOT_ALLOWED, NOT_FOUND, REFUSED, CONFLICT, UNREACHABLE, NO_SERVER, DEGRADED = range(11)


def program(name):
    return os.path.join(os.environ["GOVPN_BUILD"], "src", "apps", name, name)


class Server:
    """govpn-server in a node. tls: "self-made" (its own certificate) or "off"."""

    def __init__(self, lab, node=None, address=SERVER_IPV4, port=8443, tls="self-made", options=(), wrap=()):
        self.lab, self.node, self.address, self.port, self.tls = lab, node or lab.server, address, port, tls
        self.data = f"{RUN}/{self.node.name}-data"
        self.options, self.wrap = options, wrap
        self.process = None
        host = f"[{address}]" if ":" in address else address
        self.listen = f"{host}:{port}"
        self.url = f"{'http' if tls == 'off' else 'https'}://{self.listen}"
        self.log = f"{self.node.name}-govpn-server"

    def command(self):
        return [*self.wrap, program("govpn-server"), "--listen", self.listen, "--data", self.data, "--log-level", "debug",
                *(["--tls", "off"] if self.tls == "off" else []), *self.options]

    def start(self):
        self.process = self.node.start(*self.command(), log=self.log)
        self.lab.wait(self.answers, 10, "the server answers")
        return self

    def answers(self):
        check(self.process.poll() is None, f"govpn-server ended with {self.process.returncode}")
        return self.health() is not None

    def get(self, path):
        """Body of an HTTP GET, or None. The certificate is the server's own, so it is not verified here."""
        trust_all = ssl._create_unverified_context() if self.tls != "off" else None
        try:
            with self.node, urllib.request.urlopen(self.url + path, timeout=2, context=trust_all) as answer:
                return answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None

    def health(self):
        return self.get("/health")

    def stats(self):
        return json.loads(self.get("/stats"))

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As a service manager would; returns the exit code."""
        self.process.terminate()
        return self.process.wait(10)

    def text(self):
        with open(f"{RUN}/{self.log}.log", encoding="utf-8", errors="replace") as f:
            return f.read()

    def pin(self):
        """The pin of the self-made certificate, as the server says it at start."""
        found = re.search(r"^ +pin +(\S+)$", self.text(), re.M)
        check(found, "the server's log has no pin of its certificate")
        return found[1]

    def trust(self):
        """How `create` and `join CODE` are told to trust this server."""
        return ("--insecure",) if self.tls == "off" else ("--pin", self.pin())


class Result:
    """What one run of the command line gave."""

    def __init__(self, args, done):
        self.args, self.code, self.out, self.err = args, done.returncode, done.stdout, done.stderr

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failure(f"govpn {' '.join(self.args)}: not JSON: {self.out[:500]!r}") from None

    def __str__(self):
        return f"govpn {' '.join(self.args)}: exit code {self.code}: {self.out.strip()} {self.err.strip()}"


def without_zeros(value):
    """A status object without the counters that are 0, for reading."""
    if isinstance(value, dict):
        return {k: without_zeros(v) for k, v in value.items() if v != 0 or isinstance(v, bool)}
    return [without_zeros(v) for v in value] if isinstance(value, list) else value


class Computer:
    """govpnd in a node, with a state folder and a socket of its own, and govpn to talk to it."""

    def __init__(self, lab, node, name=None, options=(), wrap=()):
        self.lab, self.node, self.name = lab, node, name or node.name
        self.state, self.socket = f"{RUN}/{self.name}-state", f"{RUN}/{self.name}.sock"
        self.options, self.wrap, self.process = options, wrap, None
        lab.reports.append(self.report)

    def command(self):
        return [*self.wrap, program("govpnd"), "--state", self.state, "--socket", self.socket, "--log-level", "debug",
                *self.options]

    def launch(self, **more):
        self.process = self.node.start(*self.command(), log=f"{self.name}-govpnd", **more)
        return self

    def start(self, **more):
        self.launch(**more)
        self.lab.wait(self.answers, 10, f"govpnd of {self.name} answers")
        return self

    def answers(self):
        check(self.process.poll() is None, f"govpnd of {self.name} ended with {self.process.returncode}")
        return self.run("list").code != NO_DAEMON

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def run(self, *args, stdin=None, timeout_s=30, form=("--json",), wrap=()):
        """govpn --json ARGS, to its end."""
        words = [str(a) for a in args]
        done = subprocess.run(
            self.node.wrap([*wrap, program("govpn"), "--socket", self.socket, *form, *words]), capture_output=True,
            text=True, check=False, timeout=timeout_s * self.lab.slow, input=stdin or "",
        )
        return Result(words, done)

    def ok(self, *args, **more):
        result = self.run(*args, **more)
        check(result.code == OK, str(result))
        return result

    def refused(self, code, *args, **more):
        """The command must fail with this exit code and one line that says why."""
        result = self.run(*args, **more)
        check(result.code == code, f"exit code {code} expected: {result}")
        return result

    # --- the verbs that scenarios use most ---

    def secret(self, text, name="password"):
        path = f"{RUN}/{self.name}-{name}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + "\n")
        os.chmod(path, 0o600)
        return path

    def create(self, name, server, *options, password=None):
        more = ["--password-file", self.secret(password)] if password else []
        return self.ok("create", name, "--server", server.url, *server.trust(), *more, *options).json()

    def join(self, link):
        return self.ok("join", link).json()

    def join_code(self, code, server, password):
        return self.ok("join", code, "--server", server.url, *server.trust(), "--password-file",
                       self.secret(password)).json()

    def networks(self):
        return self.ok("status").json()["networks"]

    def network(self, net_id=None):
        """The status object of one network (of the only one without an id)."""
        found = [n for n in self.networks() if net_id in (None, n["id"])]
        check(len(found) == 1, f"{self.name}: {len(found)} networks, not one")
        return found[0]

    def ipv4(self, net_id=None):
        return self.network(net_id)["ipv4"].split("/")[0]

    def peers(self, net_id=None):
        """{IPv4 address: status object} of the other members."""
        net = self.network(net_id)
        own = net["ipv4"].split("/")[0]
        return {c["ipv4"].split("/")[0]: c for c in net["computers"] if c["ipv4"].split("/")[0] != own}

    def path(self, address, net_id=None):
        """The path object to a peer, or None."""
        peer = self.peers(net_id).get(address)
        return peer and peer["path"]

    def settled_path(self, address):
        """The path to a peer once it has been the same for a second: the one that was found first is not the final one yet."""
        path = None
        while True:
            before, path = path, self.lab.wait(lambda: self.path(address), 10, f"{self.name} has a path to {address}")
            if path == before:
                return path
            time.sleep(1)

    def reaches(self, address, wait_s=0.3):
        return self.node.ping(address, wait_s=wait_s)

    def wait_reaches(self, address, limit_s=10):
        self.lab.wait(lambda: self.reaches(address), limit_s, f"{self.name} reaches {address}")

    def interfaces(self):
        """{name: [addresses]} of the tunnel interfaces."""
        return {k: v for k, v in self.node.addresses().items() if k.startswith("govpn")}

    def report(self):
        if not os.path.exists(self.socket):
            return f"--- {self.name}: no socket"
        try:
            result = self.run("status", timeout_s=3)
            lines = [json.dumps(without_zeros(n)) for n in result.json()["networks"]] if result.code == OK else [str(result)]
            return "\n".join([f"--- govpn status of {self.name}", *lines])
        except subprocess.TimeoutExpired:
            return f"--- {self.name}: govpn status hangs"


def wait_mesh(lab, computers, limit_s=15, net_id=None):
    """Every pair pings, both ways. Returns {computer: address}."""
    addresses = {c: lab.wait(lambda c=c: c.ipv4(net_id), limit_s, f"{c.name} has an address") for c in computers}
    todo = [(a, b) for a in computers for b in computers if a is not b]
    start = time.monotonic()
    while todo:
        todo = [(a, b) for a, b in todo if not a.reaches(addresses[b])]
        if todo and time.monotonic() - start > limit_s * lab.slow:
            raise Failure("no path within %g s: %s" % (limit_s, ", ".join(f"{a.name}->{b.name}" for a, b in todo)))
    return addresses


def group(lab, kinds, name="party", server=None, start=True):
    """A server and one computer per home kind, all members of one network.
    Returns (server, computers, {computer: address})."""
    server = server or Server(lab).start()
    computers = [Computer(lab, lab.home(kind)).start() for kind in kinds]
    made = computers[0].create(name, server)
    for c in computers[1:]:
        c.join(made["invite"])
    return server, computers, wait_mesh(lab, computers) if start else None


def percentile(values, percent):
    return sorted(values)[len(values) * percent // 100] if values else None


ON_THE_WAY_S = 0.2


class Pinger:
    """ping in the background, every interval; stop() says how many of how many were lost; then times_ms has the others."""

    def __init__(self, node, address, interval_s=0.01):
        self.interval_s = interval_s
        self.out = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop it after a thousand lines
        self.process = subprocess.Popen(
            node.wrap(["ping", "-n", "-i", interval_s, "-W", "1", address]), stdout=self.out, text=True)

    def answered(self):
        """How many answers there are so far."""
        with open(f"/proc/self/fd/{self.out.fileno()}", encoding="ascii") as f:  # its own place in the file
            return f.read().count(" time=")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.out.seek(0)
        out = self.out.read()
        sent = int(re.search(r"(\d+) packets transmitted", out)[1])
        answered = {int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", out)}
        self.times_ms = [float(t) for t in re.findall(r" time=([\d.]+) ms", out)]
        # Those of the last moment may have been on their way when it was stopped, on a busy machine for long.
        unsure = max(2, int(ON_THE_WAY_S / self.interval_s))
        return sum(n not in answered for n in range(1, sent + 1 - unsure)), sent
