# SPDX-License-Identifier: MIT
"""The programs that ./dev bench compares. Each makes a tunnel between the nodes a and b, which share a wire.

A program has a name, `up()`, which returns the tunnel address of either end when they ping, and `processes`,
whose CPU time and memory are counted. The namespaces end whatever it starts.
"""

import os
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "netns"))

from govpn import Computer, Server  # noqa: E402
from lab import RUN, command  # noqa: E402

OUTER = {"a": "10.99.0.1", "b": "10.99.0.2"}
INNER = {"a": "10.98.0.1", "b": "10.98.0.2"}
OTHER = {"a": "b", "b": "a"}


class Program:
    name = ""

    def __init__(self, lab, a, b):
        self.lab, self.nodes, self.processes = lab, {"a": a, "b": b}, []
        self.folder = f"{RUN}/{self.name}"
        os.makedirs(self.folder, exist_ok=True)

    def start(self, side, *cmd, **more):
        self.processes.append(self.nodes[side].start(*cmd, log=f"{self.name}-{side}", **more))

    def up(self):
        raise NotImplementedError

    def down(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(10)

    def file(self, name, text):
        path = f"{self.folder}/{name}"
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        return path


class Bare(Program):
    name = "bare veth"

    def up(self):
        return OUTER


class Fastd(Program):
    name = "fastd"

    def up(self):
        keys = {}
        for side in "ab":
            out = command("fastd", "--generate-key").split()
            keys[side] = {"secret": out[out.index("Secret:") + 1], "public": out[out.index("Public:") + 1]}
        for side in "ab":
            other = OTHER[side]
            # Only b calls: two that call at once wait 15 s before they try again.
            remote = f"remote {OUTER[other]}:10000;" if side == "b" else ""
            path = self.file(side, f"""
                mode tun; interface "fastd0"; method "salsa2012+umac"; mtu 1406; log level info;
                bind {OUTER[side]}:10000; secret "{keys[side]['secret']}";
                on up "ip addr add {INNER[side]} peer {INNER[other]} dev fastd0; ip link set fastd0 up";
                peer "{other}" {{ key "{keys[other]['public']}"; {remote} }}
                """)
            self.start(side, "fastd", "--config", path)
        return INNER


class WireguardGo(Program):
    name = "wireguard-go"

    def up(self):
        keys = {}
        for side in "ab":
            secret = command("wg", "genkey")
            keys[side] = {"file": self.file(side, secret), "public": command("wg", "pubkey", input=secret).strip()}
        os.makedirs("/run/wireguard", exist_ok=True)
        for side in "ab":
            self.start(side, "wireguard-go", "-f", f"wg-{side}", env=dict(os.environ, LOG_LEVEL="error"))
            self.lab.wait(lambda s=side: os.path.exists(f"/run/wireguard/wg-{s}.sock"), 5, "wireguard-go")
        for side in "ab":
            node, dev, other = self.nodes[side], f"wg-{side}", OTHER[side]
            node.run("wg", "set", dev, "private-key", keys[side]["file"], "listen-port", 51820, "peer",
                     keys[other]["public"], "endpoint", f"{OUTER[other]}:51820", "allowed-ips", f"{INNER[other]}/32")
            node.ip(f"addr add {INNER[side]}/24 dev {dev}", f"link set {dev} mtu 1420 up")
        return INNER


class N2n(Program):
    name = "n2n"

    def up(self):
        supernode = self.nodes["a"].start("supernode", "-l", 7654, log="supernode")
        for number, side in enumerate("ab"):
            self.start(side, "edge", "-d", "n2n0", "-a", INNER[side], "-c", "bench", "-k", "secret", "-u", 0, "-g", 0,
                       "-l", f"{OUTER['a']}:7654", "-m", f"02:00:00:00:00:0{number + 1}")
        self.supernode = supernode
        return INNER

    def down(self):
        super().down()
        self.supernode.terminate()
        self.supernode.wait(10)


class Openvpn(Program):
    name = "OpenVPN"

    def up(self):
        prints = {}
        for side in "ab":
            command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "30", "-subj", f"/CN={side}", "-keyout", f"{self.folder}/{side}.key", "-out",
                    f"{self.folder}/{side}.crt", stdin=subprocess.DEVNULL)
            out = command("openssl", "x509", "-in", f"{self.folder}/{side}.crt", "-noout", "-fingerprint", "-sha256")
            prints[side] = out.strip().split("=")[1]
        for side in "ab":
            other = OTHER[side]
            role = ["--tls-server", "--dh", "none"] if side == "a" else ["--tls-client"]
            self.start(side, "openvpn", "--dev", "tun0", "--proto", "udp", "--local", OUTER[side], "--remote",
                       OUTER[other], "--ifconfig", INNER[side], INNER[other], *role, "--cert",
                       f"{self.folder}/{side}.crt", "--key", f"{self.folder}/{side}.key", "--peer-fingerprint",
                       prints[other], "--data-ciphers", "AES-128-GCM", "--cipher", "AES-128-GCM", "--verb", "1")
        return INNER


class Govpn(Program):
    name = "goVPN"
    started = 0
    server = None
    environment = ()  # of both daemons, as "NAME=value"

    def up(self):
        Govpn.started += 1  # each time computers that know nothing of the round before
        server = Server(self.lab, node=self.nodes["a"], address=OUTER["a"], port=8443)
        self.server = server.start()
        wrap = ("env", *self.environment) if self.environment else ()
        ends = {side: Computer(self.lab, self.nodes[side], name=f"{side}{Govpn.started}", wrap=wrap).start() for side in "ab"}
        ends["b"].join(ends["a"].create("bench", server)["invite"])
        self.processes = [c.process for c in ends.values()]
        return {side: ends[side].ipv4() for side in "ab"}

    def down(self):
        super().down()
        if self.server:
            self.server.stop()


def from_description(described):
    """A program that is measured by giving its commands: {"name", "a", "b", "address_a", "address_b"}; a and b
    run in the foreground on either end, in a shell, with OUTER and OTHER set to the wire's addresses."""

    class Described(Program):
        name = described["name"]

        def up(self):
            for side in "ab":
                env = dict(os.environ, OUTER=OUTER[side], OTHER=OUTER[OTHER[side]])
                self.start(side, "sh", "-c", "exec " + described[side] if _is_simple(described[side]) else
                           described[side], env=env)
            return {side: described[f"address_{side}"] for side in "ab"}

    return Described


def _is_simple(text):
    """One command, which may take the shell's place, so that its own process is measured."""
    return not any(word in text for word in (";", "&", "|", "\n")) and bool(shlex.split(text))


ALL = [Bare, Fastd, WireguardGo, Openvpn, N2n, Govpn]
