# SPDX-License-Identifier: MIT
"""A small Internet made of network namespaces.

                      inet: bridge br0, 203.0.113.1/24, 2001:db8::1/64
       ________________________|_________________________________
      |                        |                                 |
    server                  router r1 (a NAT kind)            h2 (kind "open")
    203.0.113.10            203.0.113.101                     203.0.113.102
    2001:db8::10               | lan0 192.168.1.1/24          2001:db8::102
                              h1 192.168.1.2

Everything lives in the namespaces of the process that runs this (run.py starts it under unshare): mounts,
processes, networks. It is gone when that process ends, however it ends, and nothing has a name outside.

Packets are lost on the receiving side (netdev hook): a drop in an output hook gives the sender EPERM, which
no real network does.
"""

import ctypes
import os
import re
import socket
import struct
import subprocess
import time

RUN = "/run/lab"
CLONE_NEWNET = 0x40000000
NETLINK_NETFILTER, NFNL_CT_DELETE = 12, 1 << 8 | 2
SERVER_IPV4, SERVER_IPV6 = "203.0.113.10", "2001:db8::10"
LIBC = ctypes.CDLL(None, use_errno=True)

# kind: (IPv4 NAT rules, is there IPv4, is there IPv6)
NAT_KINDS = {
    "cone": ("cone", True, False),  # endpoint-independent mapping and filtering
    "addr": ("addr", True, False),  # endpoint-independent mapping, address-dependent filtering
    "port": ("port", True, False),  # endpoint-independent mapping, address and port-dependent filtering
    "sym": ("sym", True, False),  # a new port for each destination
    "udpblock": ("udpblock", True, False),  # TCP 80 and 443 only
    "cgnat": ("port", True, False),  # a "port" router behind a "port" carrier router
    "dual": ("port", True, True),  # "port" for IPv4, firewalled global IPv6
    "v6": (None, False, True),  # firewalled global IPv6 only
}


class Failure(Exception):
    """What a scenario raises when the product did not do what it should."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def command(*cmd, **more):
    done = subprocess.run(cmd, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Failure(f"{' '.join(cmd)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


class Node:
    """One machine: a network namespace. `with node:` moves the calling thread into it for a while, so that a
    socket made inside belongs to the node for good."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.path = f"/run/netns/{name}"
        self.far = {}  # own interface -> (node, interface) at the other end of the wire
        self.router = None
        command("ip", "netns", "add", name)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        for family in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{family}/accept_dad", 0)
            self.sysctl(f"net/ipv6/conf/{family}/accept_ra", 0)
            self.sysctl(f"net/ipv4/conf/{family}/rp_filter", 0)
        self.ip("link set lo up")

    def __enter__(self):
        self._enter(self.fd)

    def __exit__(self, *_):
        self._enter(self.lab.own_fd)

    @staticmethod
    def _enter(fd):
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def ip(self, *lines):
        """Runs `ip` in the node, once per line."""
        for line in lines:
            command("ip", "-n", self.name, *line.split())

    def sysctl(self, path, value):
        with self:
            try:
                with open("/proc/sys/" + path, "w", encoding="ascii") as f:
                    f.write(str(value))
            except FileNotFoundError:
                pass  # a kernel without IPv6 or bridging has nothing to set

    def nft(self, rules):
        command("nsenter", f"--net={self.path}", "nft", "-f", "-", input=rules)

    def forget_connections(self):
        """The router loses its table of connections. (The kernel does so by itself only for those from inside.)"""
        delete = struct.pack("=IHHIIBBH", 20, NFNL_CT_DELETE, 0x5, 1, 0, 0, 0, 0)  # REQUEST, ACK; no filter: all
        with self:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as s:
                s.send(delete)
                error = struct.unpack_from("=i", s.recv(4096), 16)[0]
        check(error == 0, f"{self.name}: connections cannot be forgotten: {os.strerror(-error)}")

    def wrap(self, cmd):
        return ["nsenter", f"--net={self.path}", "--", *map(str, cmd)]

    def run(self, *cmd, check_code=True, timeout_s=60, **more):
        """Runs a program to its end; its output is text."""
        done = subprocess.run(self.wrap(cmd), capture_output=True, text=True, check=False, timeout=timeout_s, **more)
        if check_code and done.returncode != 0:
            raise Failure(f"{self.name}: {' '.join(map(str, cmd))}: exit code {done.returncode}: "
                          f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def start(self, *cmd, log=None, **more):
        """Starts a program that goes on; its output goes to a log that is shown when the scenario fails (or as `more` says)."""
        log = log or f"{self.name}-{os.path.basename(str(cmd[0]))}"
        path = f"{RUN}/{log}.log"
        self.lab.logs[log] = path
        with open(path, "ab") as out:
            process = subprocess.Popen(self.wrap(cmd), **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **more})
        self.lab.processes.append(process)
        return process

    def ping(self, address, count=1, wait_s=1.0):
        """Whether all of `count` echo requests were answered."""
        done = self.run("ping", "-n", "-q", "-c", count, "-i", "0.2", "-W", wait_s, address, check_code=False)
        return done.returncode == 0 and f" {count} received" in done.stdout

    def tx_dropped(self, dev):
        """Packets (super-packets count once) that the queue of this interface had no room for."""
        with self, open("/proc/net/dev", encoding="ascii") as f:
            line = next(line for line in f if line.strip().startswith(dev + ":"))
        return int(line.split(":")[1].split()[11])

    def addresses(self):
        """{interface: [address/length, ...]} without loopback and link-local ones."""
        found = {}
        for line in command("ip", "-n", self.name, "-o", "addr", "show").splitlines():
            words = line.split()
            if words[1] != "lo" and words[2] in ("inet", "inet6") and not words[3].startswith("fe80"):
                found.setdefault(words[1], []).append(words[3])
        return found

    # --- faults ---

    def drop(self, name, rule, direction="both", dev=None):
        """Drops what matches an nft rule on this node's wire; rule None takes the drop away."""
        dev = dev or self.uplink()
        ends = {"in": [(self, dev)], "out": [self.far[dev]], "both": [(self, dev), self.far[dev]]}[direction]
        for node, end in ends:
            table = f"{name}_{self.name}"
            node.nft(f"table netdev {table} {{}}\ndelete table netdev {table}\n" + ("" if rule is None else (
                f"table netdev {table} {{ chain c {{ type filter hook ingress device {end} priority -400;\n"
                f"meta protocol {{ ip, ip6 }} {rule} counter drop\n}}\n}}\n")))

    def loss(self, percent, direction="both"):
        self.drop("loss", f"numgen random mod 10000 < {round(percent * 100)}" if percent else None, direction)

    def blackhole(self, on):
        """Drops every packet while the link stays up."""
        self.drop("hole", "meta mark >= 0" if on else None)

    def uplink(self):
        return next(iter(self.far))

    def carrier(self, on, dev=None):
        """Plugs the cable in or out: the far end of the wire goes up or down."""
        node, end = self.far[dev or self.uplink()]
        node.ip(f"link set {end} {'up' if on else 'down'}")

    def mtu(self, value, dev=None, blackhole=False):
        """The MTU of the wire; with blackhole nobody says "too big"."""
        dev = dev or self.uplink()
        for node, end in ((self, dev), self.far[dev]):
            node.ip(f"link set {end} mtu {value}")
            if blackhole:
                node.nft("table inet pmtu { chain o { type filter hook output priority 0;\n"
                         "icmp type destination-unreachable icmp code frag-needed drop\n"
                         "icmpv6 type packet-too-big drop\n}\n}\n")

    def cut_trains(self, on):
        """Trains of datagrams leave this node one by one, as on a real wire, and those that arrive are joined by GRO."""
        dev = self.uplink()
        far, end = self.far[dev]
        word = {True: "on", False: "off"}
        self.run("ethtool", "-K", dev, "tx-udp-segmentation", word[not on], "gro", word[on], "rx-udp-gro-forwarding", word[on])
        far.run("ethtool", "-K", end, "tso", word[not on])  # or veth thinks that GRO is not worth it

    def cut(self):
        """Cuts this node's uplink and puts a box between; in0 is its end towards the node, out0 the other."""
        dev = self.uplink()
        far, end = self.far[dev]
        box = self.lab.node(f"w-{self.name}")
        box.sysctl("net/ipv6/conf/all/disable_ipv6", 1)
        self.ip(f"link set {dev} down")
        far.ip(f"link set {end} netns {box.name}")
        box.ip(f"link set {end} name in0", "link set in0 up")
        self.lab.veth(box, "out0", far, end)
        far.ip(f"link set {end} master {far.bridge}")
        self.ip(f"link set {dev} up gso_max_segs 1")
        far.ip(f"link set {end} gso_max_segs 1")
        self.far[dev] = (box, "in0")
        self.lab.restore_routes(self)
        return box

    def wire(self, *options):
        """Puts a wire with delay, loss, rate and so on (tests/support/wire.c) into this node's uplink."""
        return self.cut().start(self.lab.build_tool("wire"), "in0", "out0", *options, log=f"wire-{self.name}")


class Lab:
    """The Internet and the homes that were attached to it."""

    def __init__(self, slow=1.0, long=False):
        self.slow = slow  # time limits are multiplied by this (sanitizers)
        self.long = long  # the numbers of ./dev soak instead of those of ./dev test
        self.nodes, self.logs, self.processes, self.reports = {}, {}, [], []
        self.routes = {}  # node -> the lines a DHCP client would apply again
        self.homes = 0
        self._private_files()
        self.own_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        command("ip", "link", "set", "lo", "up")
        self.inet = self.node("inet")
        self.inet.bridge = "br0"
        self._forwarding(self.inet)
        self.inet.ip("link add br0 type bridge", "link set br0 up", "addr add 203.0.113.1/24 dev br0",
                     "-6 addr add 2001:db8::1/64 dev br0 nodad")
        self.server = self.public("server", 10)

    @staticmethod
    def _private_files():
        """/run is ours alone, so that names in it (netns, sockets) meet nobody else's."""
        command("mount", "-t", "tmpfs", "-o", "mode=755", "lab", "/run")
        for folder in ("netns", "lock", "govpn", "lab"):
            os.makedirs(f"/run/{folder}", exist_ok=True)
        if not os.path.exists("/dev/net/tun"):
            os.makedirs("/dev/net", exist_ok=True)
            command("mount", "-t", "tmpfs", "lab", "/dev/net")
            command("mknod", "-m", "666", "/dev/net/tun", "c", "10", "200")

    # --- building ---

    def node(self, name):
        self.nodes[name] = Node(self, name)
        return self.nodes[name]

    def veth(self, a, a_dev, b, b_dev):
        command("ip", "link", "add", "name", a_dev, "netns", a.name, "type", "veth", "peer", "name", b_dev,
                "netns", b.name)
        a.ip(f"link set {a_dev} up")
        b.ip(f"link set {b_dev} up")
        a.far[a_dev], b.far[b_dev] = (b, b_dev), (a, a_dev)

    def attach(self, node, dev, box):
        """A wire from the node into the bridge of another box."""
        port = f"p-{node.name}" + ("" if dev in ("eth0", "wan0") else f"-{dev}")
        self.veth(node, dev, box, port)
        box.ip(f"link set {port} master {box.bridge}")

    def set_routes(self, node, *lines):
        self.routes.setdefault(node.name, []).extend(lines)
        node.ip(*lines)

    def restore_routes(self, node):
        """The kernel forgets routes and IPv6 addresses when a link goes down: what a DHCP client would do."""
        node.ip(*self.routes.get(node.name, ()))

    @staticmethod
    def _forwarding(node):
        node.sysctl("net/ipv4/ip_forward", 1)
        node.sysctl("net/ipv6/conf/all/forwarding", 1)
        node.sysctl("net/ipv4/conf/all/send_redirects", 0)
        node.sysctl("net/ipv4/conf/default/send_redirects", 0)

    def public(self, name, last, ipv4=True, ipv6=True):
        """A machine with public addresses."""
        node = self.node(name)
        self.attach(node, "eth0", self.inet)
        if ipv4:
            self.set_routes(node, f"addr replace 203.0.113.{last}/24 dev eth0", "route replace default via 203.0.113.1")
        if ipv6:
            self.set_routes(node, f"-6 addr replace 2001:db8::{last}/64 dev eth0 nodad",
                            "-6 route replace default via 2001:db8::1")
        return node

    def home(self, kind, lan=None, name=None):
        """A computer in a home of this kind; home N has the public address 203.0.113.(100 + N)."""
        self.homes += 1
        n = self.homes
        name = name or f"h{n}"
        if kind == "open":
            return self.public(name, 100 + n)
        rules, ipv4, ipv6 = NAT_KINDS[kind]
        router = self.node(f"r{n}")
        self._forwarding(router)
        router.bridge, router.hosts = "lan0", 0
        router.lan = (lan or f"192.168.{n}") if ipv4 else None
        router.prefix6 = f"2001:db8:{n}:" if ipv6 else None
        router.ip("link add lan0 type bridge", "link set lan0 up")
        self._uplink(router, n, kind, ipv4, ipv6)
        if ipv4:
            router.ip(f"addr add {router.lan}.1/24 dev lan0")
            router.nft(nat_rules(rules))
        if ipv6:
            router.ip(f"-6 addr add {router.prefix6}:1/64 dev lan0 nodad")
            self.inet.ip(f"-6 route replace {router.prefix6}:/64 via 2001:db8::{100 + n}")
            router.nft(firewall_rules("ip6"))
        return self.lan_host(router, name)

    def _uplink(self, router, n, kind, ipv4, ipv6):
        upstream, via, address = self.inet, "203.0.113.1", f"203.0.113.{100 + n}/24"
        if kind == "cgnat":
            upstream = self.node(f"c{n}")
            self._forwarding(upstream)
            self.attach(upstream, "wan0", self.inet)
            self.set_routes(upstream, f"addr replace {address} dev wan0", f"route replace default via {via}")
            upstream.bridge = "lan0"
            upstream.ip("link add lan0 type bridge", "link set lan0 up", "addr add 100.64.0.1/16 dev lan0")
            upstream.nft(nat_rules("port"))
            via, address = "100.64.0.1", f"100.64.{n}.2/16"
        self.attach(router, "wan0", upstream)
        if ipv4:
            self.set_routes(router, f"addr replace {address} dev wan0", f"route replace default via {via}")
        if ipv6:
            self.set_routes(router, f"-6 addr replace 2001:db8::{100 + n}/64 dev wan0 nodad",
                            "-6 route replace default via 2001:db8::1")

    def lan_host(self, router, name):
        """One more computer on the LAN of a home."""
        node = self.node(name)
        node.router = router
        self.plug(node, router, "eth0")
        return node

    def plug(self, node, router, dev, metric=0):
        """Connects a network card of the node to the LAN of a home; returns its IPv4 address there."""
        router.hosts += 1
        last = 1 + router.hosts
        self.attach(node, dev, router)
        more = f" metric {metric}" if metric else ""
        if router.lan:
            self.set_routes(node, f"addr replace {router.lan}.{last}/24 dev {dev}",
                            f"route replace default via {router.lan}.1 dev {dev}{more}")
        if router.prefix6:
            self.set_routes(node, f"-6 addr replace {router.prefix6}:{last}/64 dev {dev} nodad",
                            f"-6 route replace default via {router.prefix6}:1 dev {dev}{more}")
        return f"{router.lan}.{last}" if router.lan else None

    # --- changes ---

    def link(self, node, up):
        """The node's own interface goes down or comes back, with its addresses."""
        node.ip(f"link set {node.uplink()} {'up' if up else 'down'}")
        if up:
            self.restore_routes(node)

    def new_public_address(self, router, last):
        """The provider gives the home another IPv4 address; the router forgets every mapping."""
        node = self.nodes.get("c" + router.name[1:], router)
        node.ip("-4 addr flush dev wan0")
        node.forget_connections()
        self.routes[node.name] = [f"addr replace 203.0.113.{last}/24 dev wan0", "route replace default via 203.0.113.1"]
        self.restore_routes(node)

    def new_lan_address(self, node, last):
        """The only network card gets another address on the same LAN."""
        dev, lan = node.uplink(), node.router.lan
        node.ip(f"-4 addr flush dev {dev}")
        self.routes[node.name] = [f"addr replace {lan}.{last}/24 dev {dev}", f"route replace default via {lan}.1 dev {dev}"]
        self.restore_routes(node)

    # --- waiting, reporting ---

    def wait(self, condition, limit_s, what, pause_s=0.03):
        """Calls condition() until it gives something true, which is returned."""
        start = time.monotonic()
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() - start > limit_s * self.slow:
                raise Failure(f"{what}: not within {limit_s * self.slow:g} s")
            time.sleep(pause_s)

    def wait_ping(self, node, address, limit_s=10):
        self.wait(lambda: node.ping(address, wait_s=0.3), limit_s, f"ping from {node.name} to {address}")

    def build_tool(self, name, *options, folder="support"):
        """Compiles tests/FOLDER/NAME.c; returns the path of the program (or library, by -shared)."""
        path = f"{RUN}/{name}"
        if not os.path.exists(path):
            source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), folder, f"{name}.c")
            command("cc", "-O2", "-D_GNU_SOURCE", *options, source, "-o", path)
        return path

    def end_programs(self):
        """Asks every program to end, as a service manager would; only then do sanitizers look for leaks."""
        running = [p for p in self.processes if p.poll() is None]
        for p in running:
            p.terminate()
        for p in running:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                raise Failure(f"{p.args} does not end") from None

    def findings(self):
        """Reports of a sanitizer in the logs: [(name of the log, report)]."""
        found = []
        for name, path in self.logs.items():
            with open(path, encoding="utf-8", errors="replace") as f:
                report = re.search(r"^.*(Sanitizer: |runtime error: )(.*\n){0,120}", f.read(), re.M)
            if report:
                found.append((name, report[0]))
        return found

    def tails(self, lines=40):
        """The ends of all logs, and what each daemon says about itself."""
        parts = [f"--- sanitizer, {name}\n{report}" for name, report in self.findings()]
        for name, path in self.logs.items():
            with open(path, encoding="utf-8", errors="replace") as f:
                parts.append(f"--- {name}\n" + "".join(f.readlines()[-lines:]).rstrip())
        for report in self.reports:
            parts.append(report())
        return "\n".join(parts)


def nat_rules(kind):
    """The IPv4 rules of a NAT router between lan0 and wan0.

    Packets that nobody asked for are dropped before conntrack confirms them: else they would take the very
    mapping that the computer inside is about to use, and hole punching would fail by luck."""
    masquerade, note, back, out, table = "masquerade", "", "", "", ""
    if kind == "sym":
        masquerade = "masquerade random,fully-random"
    if kind == "udpblock":
        out = "oifname wan0 tcp dport != { 80, 443 } drop\noifname wan0 meta l4proto != tcp drop"
    if kind in ("cone", "addr"):
        key, use, see = {
            "cone": ("inet_service", "udp sport", "udp dport"),
            "addr": ("inet_service . ipv4_addr", "udp sport . ip daddr", "udp dport . ip saddr"),
        }[kind]
        table = f"map m {{ type {key} : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; }}"
        note = (f"oifname wan0 meta l4proto udp update @m {{ {use} : ct original ip saddr . ct original proto-src }}")
        back = f"iifname wan0 fib daddr type local meta l4proto udp dnat ip to {see} map @m"
    return f"""table ip nat {{
    {table}
    chain pre {{ type nat hook prerouting priority dstnat;
        {back}
    }}
    chain post {{ type nat hook postrouting priority srcnat;
        oifname wan0 {masquerade}
    }}
    chain note {{ type filter hook postrouting priority srcnat + 10;
        {note}
    }}
    chain forward {{ type filter hook forward priority filter; policy drop;
        {out}
        ct state established,related accept
        iifname lan0 oifname lan0 accept
        iifname lan0 oifname wan0 accept
        iifname wan0 ct status dnat accept
    }}
    chain in {{ type filter hook input priority filter;
        iifname wan0 ct state established,related accept
        iifname wan0 meta l4proto icmp accept
        iifname wan0 drop
    }}
}}
"""


def firewall_rules(family):
    """A stateful firewall without translation; 1 and 58 are ICMP, which bare systems cannot name."""
    return f"""table {family} firewall {{
    chain forward {{ type filter hook forward priority filter; policy drop;
        ct state established,related accept
        meta l4proto {{ 1, 58 }} accept
        iifname lan0 accept
    }}
    chain in {{ type filter hook input priority filter;
        iifname wan0 ct state established,related accept
        iifname wan0 meta l4proto {{ 1, 58 }} accept
        iifname wan0 drop
    }}
}}
"""
