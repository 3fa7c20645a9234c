# SPDX-License-Identifier: MIT
"""What is no server at all: garbage instead of HTTP, TLS, WebSocket, JSON and messages, and answers that make no sense. The
client lives, its memory does not grow, it asks ever more slowly, and its path by another server goes on.

    h1 "dora", h2 "emil" (public) -- inet -- server: govpn-server (honest), Impostor :9001 (plain), :9002 (TLS)

`GOVPN_WRITE_DOCS=1` writes the table of docs/testing.md.
"""

import json
import os
import ssl
import struct
import sys
import time

from docs import HEAD, compact, write_table
from govpn import CONFLICT, FAILED, NO_SERVER, Computer, Server, wait_mesh
from innerflow import Arrivals, Sender
from lab import RUN, SERVER_IPV4, check, command
from process import rss_kb

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hostile
import sigclient
from hostile import Impostor, Line, challenge, reply
from sigclient import Closed, Key, Network, b64, frame, unb64

TIME_LIMIT_S = 120
LONG_TIME_LIMIT_S = 900
PLAIN, TLS, ELSEWHERE = 9001, 9002, 9003
HOLD_S = 0.15  # how long a variant that closes nothing is left alone
LOST_AT_MOST = 5
SUBNET = ("10.66.1.0", 24)


# ---- before the WebSocket is there: fn(sock) ----

def http(text, asked=True):
    def fn(sock):
        if asked:
            sock.recv(4096)
        sock.sendall(text.encode() if isinstance(text, str) else text)
        time.sleep(HOLD_S)
    return fn


def redirect(code, to):
    return http(f"HTTP/1.1 {code} Look there\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")


def switching(*lines):
    def fn(sock):
        line = Line(sock)
        head = line.head()
        key = hostile.re.search(rb"(?i)sec-websocket-key: *(\S+)", head)[1]
        accept = hostile.base64.b64encode(hostile.hashlib.sha1(key + hostile.GUID).digest()).decode()
        sock.sendall(("\r\n".join(["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                                   *(one.replace("ACCEPT", accept) for one in lines)]) + "\r\n\r\n").encode())
        time.sleep(HOLD_S)
    return fn


def before_websocket():
    there = f"http://{SERVER_IPV4}:{ELSEWHERE}/ws"
    return "HTTP", [
        ("closed at once", lambda sock: None),
        ("closed after the request", lambda sock: sock.recv(4096)),
        ("no answer", lambda sock: time.sleep(2 * HOLD_S)),
        ("noise", http(os.urandom(4000), asked=False)),
        ("a web page", http("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")),
        ("redirect to another server", redirect(301, there)),
        ("redirect 302", redirect(302, there)),
        ("redirect 307 to another scheme", redirect(307, there.replace("http", "https"))),
        ("redirect to a name", redirect(308, "http://nowhere.test/ws")),
        ("redirect to itself", redirect(302, "/ws")),
        ("401 with a demand for a password", http("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")),
        ("500", http("HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n")),
        ("a head of 100 kB", http("HTTP/1.1 101 Yes\r\n" + "X: " + "y" * 100000 + "\r\n\r\n")),
        ("10,000 head lines", http("HTTP/1.1 101 Yes\r\n" + "X: y\r\n" * 10000 + "\r\n")),
        ("a head that does not end", http("HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n")),
        ("TLS where none was asked for", http(b"\x15\x03\x03\x00\x02\x02\x28" * 3)),
        ("another Sec-WebSocket-Accept", switching("Sec-WebSocket-Accept: " + "A" * 27 + "=")),
        ("no Sec-WebSocket-Accept", switching()),
        ("an extension nobody asked for", switching("Sec-WebSocket-Accept: ACCEPT", "Sec-WebSocket-Extensions: permessage-deflate")),
        ("a subprotocol nobody asked for", switching("Sec-WebSocket-Accept: ACCEPT", "Sec-WebSocket-Protocol: chat")),
    ]


# ---- frames, after the login: fn(line) ----

def frames(long):
    many = 100000 if long else 5000
    raw = lambda data: lambda line: line.raw(data)
    part = frame(0, b"x" * 60000, fin=False)
    return "WebSocket", [
        ("binary frame", raw(frame(2, b'{"type":"Kicked"}'))),
        ("reserved bits", raw(bytes([0xf1, 2]) + b"{}")),
        ("unknown opcode", raw(bytes([0x83, 2]) + b"{}")),
        ("masked frame", raw(frame(1, b"{}", mask=b"abcd"))),
        ("ping of 126 bytes", raw(bytes([0x89, 126, 0, 126]) + bytes(126))),
        ("ping in fragments", raw(bytes([0x09, 1]) + b"x" + bytes([0x80, 1]) + b"x")),
        ("fragment without a beginning", raw(frame(0, b"{}"))),
        ("two beginnings", raw(frame(1, b"{", fin=False) + frame(1, b"}"))),
        ("length of 2^63", raw(bytes([0x81, 127]) + struct.pack(">Q", 2**63) + b"x" * 1000)),
        ("length of 2^31, and 6 MB of it", raw(bytes([0x81, 127]) + struct.pack(">Q", 2**31) + b"x" * 6000000)),
        ("fragments without end", raw(frame(1, b"x", fin=False) + part * 100)),
        (f"{many} empty fragments", raw(frame(1, b"", fin=False) + frame(0, b"", fin=False) * many)),
        (f"{many} pings", raw(frame(9, b"x" * 100) * many)),
        (f"{many} pongs", raw(frame(10, b"x") * many)),
        ("close with a reserved code", raw(bytes([0x88, 2]) + struct.pack(">H", 1005))),
        ("close with one byte", raw(bytes([0x88, 1, 3]))),
        ("invalid UTF-8", raw(frame(1, b'{"type":"\xff\xc0\x80"}'))),
        ("4 MB of spaces", raw(frame(1, b" " * (4 << 20)))),
        ("4 MB and a byte", raw(frame(1, b" " * ((4 << 20) + 1)))),
        ("empty message", raw(frame(1, b""))),
        (f"{many} messages", raw(frame(1, b'{"type":"Pong","payload":{"unix_s":1}}') * many)),
    ]


# ---- texts that are no message ----

def texts():
    deep = b'{"type":' + b"[" * 100000 + b"]" * 100000 + b"}"
    say = lambda text: lambda line: line.say(text)
    return "JSON", [
        ("nested 10^5 deep", say(deep)),
        ("nested 10^5 deep, never closed", say(b'{"a":' * 100000)),
        ("10^6 values", say(b'{"type":"x","payload":{"a":[' + b"1," * 999999 + b"1]}}")),
        ("a key twice", say(b'{"type":"Kicked","type":"Pong","payload":{}}')),
        ("a payload key twice", say(b'{"type":"Pong","payload":{"unix_s":1,"unix_s":2}}')),
        ("1e400", say(b'{"type":"Pong","payload":{"unix_s":1e400}}')),
        ("2^64", say(b'{"type":"Pong","payload":{"unix_s":18446744073709551616}}')),
        ("a lone surrogate", say(b'{"type":"Kicked","payload":{"reason":"\\ud800"}}')),
        ("NUL in a text", say(b'{"type":"Kick\\u0000ed","payload":{}}')),
        ("cut", say(b'{"type":"Pong","payload":{"unix_s":')),
        ("an array", say(b"[1,2,3]")),
        ("something behind the end", say(b'{"type":"Pong"} {"type":"Kicked"}')),
        ("UTF-16", say('{"type":"Pong"}'.encode("utf-16"))),
        ("no type", say(b'{"payload":{}}')),
        ("a number as type", say(b'{"type":1}')),
        ("a message_id of 65 characters", say(b'{"message_id":"' + b"1" * 65 + b'","type":"Pong"}')),
        ("a message_id with a line break", say(b'{"message_id":"1\\n2","type":"Pong"}')),
    ]


# ---- messages of every type, spoilt: none of them ends the connection ----

def messages(net):
    key, nonce, signature, id_ = b64(Key().public), b64(bytes(16)), b64(bytes(64)), net.text_id
    computer = {"key": key, "online": True, "session": "00000000000000aa", "ip": "10.66.1.9", "ipv6": "fd00::9", "admission": b64(bytes(200))}
    network = {"network_id": id_, "code": "aaaaaaaaaa", "network_name": "n", "computer_ip": "10.66.1.1", "prefix_length": 24, "ipv6": "fd00::1",
               "subnet": "10.66.1.0/24", "document": b64(net.document), "computers": [computer]}
    described = {"network_id": id_, "target_id": key, "sender_id": key, "session": "00000000000000aa", "nonce": nonce, "address": "10.66.1.9",
                 "sdp": "v=0\r\n", "signature": signature}
    return {
        "Challenge": challenge()["payload"], "Authenticated": {"version": 1, "ice_servers": [{"urls": "stun:192.0.2.1:1"}]},
        "NetworkCreated": network, "NetworkJoined": network, "NetworkConnected": network, "NetworkFound": {"network_id": id_},
        "NetworkDisconnected": {"network_id": id_}, "NetworkLeft": {"network_id": id_},
        "DocumentUpdated": {"network_id": id_, "document": b64(bytes(200))}, "UpdateClientInfoResponse": {"network_id": id_},
        "ComputerNetworks": {"networks": [{"network_id": id_, "code": "aaaaaaaaaa", "network_name": "n", "computer_ip": "10.66.1.1",
                                           "subnet": "10.66.1.0/24", "connected": True, "computers": 1, "computers_online": 1}]},
        "Pong": {"unix_s": 1}, "SdpOffer": described, "SdpAnswer": {**described, "offer_nonce": nonce},
        "IceCandidate": {"network_id": id_, "target_id": key, "sender_id": key, "nonce": nonce, "mid": "0", "ufrag": "x",
                         "candidate": "candidate:1 1 udp 1 192.0.2.1 1 typ host"},
        "ComputerJoined": {"network_id": id_, "computer": computer}, "ComputerConnected": {"network_id": id_, "computer": computer},
        "ComputerDisconnected": {"network_id": id_, "key": key},
        "ComputerLeft": {"network_id": id_, "key": key, "session": "00000000000000aa", "unix_s": 1, "signature": signature},
        "ComputerRenamed": {"network_id": id_, "key": key, "admission": b64(bytes(200))},
        "ServerShutdown": {"in_seconds": 1}, "Error": {"code": "server_error", "message": "x", "suggestion": "y", "retry_after_s": 1},
        "NoSuchType": {"a": 1},
    }


LONG = "x" * 10**6
WRONG = (None, True, 7, -1, 2**63 - 1, 1.5, "", "1", "\u202e", [], [[]], {}, {"a": {}}, [{"key": 1}] * 5)


def spoilt(kind, payload, long):
    """The texts of a message with each field missing, wrong, too long, and one too many."""
    def text(p):
        return json.dumps({"type": kind, "payload": p}).encode()

    for name in payload:
        yield text({k: v for k, v in payload.items() if k != name})
        for value in WRONG:
            yield text({**payload, name: value})
        if long or name == next(iter(payload)):
            yield text({**payload, name: LONG})
        inner = payload[name][0] if isinstance(payload[name], list) else payload[name]
        if isinstance(inner, dict):
            for field in inner:
                for value in ({}, LONG if long else "x", None, -1):
                    changed = {**inner, field: value}
                    yield text({**payload, name: [changed] if isinstance(payload[name], list) else changed})
    yield text({**payload, "unknown": {"a": [1, 2, 3]}})
    for other in ([], "x", 1, [payload]):
        yield text(other)
    yield json.dumps({"type": kind}).encode()
    yield json.dumps({"message_id": "99999", "type": kind, "payload": payload}).encode()


def all_types(net, long):
    def fn_of(kind, payload):
        blob = b"".join(frame(1, text) for text in spoilt(kind, payload, long))
        return lambda line: line.raw(blob)
    return "messages, each field missing, of a wrong kind, too long", [
        (kind, fn_of(kind, payload)) for kind, payload in messages(net).items()]


# ---- the login: fn(line), in the place of what a server does ----

def asked(line, **more):
    line.say(challenge(**more))
    return json.loads(line.next_text())


def handed_on(server, replays):
    """The challenge of an honest server for the client, and its login for that server: must be of no use there."""
    def fn(line):
        with server.node:
            honest = [sigclient.Client(server.url) for _ in range(1 + replays)]
        text = None
        for one in honest:
            given = one.receive()
            if text is None:
                line.say(given)
                text = line.next_text()
            one.send_frame(1, text)
            try:
                answer = one.receive()
            except Closed:
                answer = {"type": "Error", "payload": {"code": "closed"}}
            fn.answers.append(answer["payload"].get("code", answer["type"]))
            one.close()
    fn.answers = []
    return fn


def login():
    def answer(kind, **payload):
        def fn(line):
            line.say(reply(asked(line), kind, **payload))
        return fn

    def twice(line):
        line.say(challenge())
        line.say(challenge())
        first = json.loads(line.next_text())
        line.say(reply(first, "Authenticated", version=1, ice_servers=[]))
        line.say(reply(first, "Authenticated", version=1, ice_servers=[]))

    def other_id(line):
        m = asked(line)
        line.say(reply({"message_id": "77777"}, "NetworkJoined", network_id="x"))
        line.say(reply({"message_id": m["message_id"] + "0"}, "Pong", unix_s=1))

    stun = ["stun:127.0.0.1:53", "stun:224.0.0.1:1", "stun:255.255.255.255:1", "stun:[::1]:1", "stun:", "turn:x", "stun:[", "stun:nowhere.test:99999"]
    return "login", [
        ("nonce too short", lambda line: line.say(challenge(nonce=b64(bytes(31))))),
        ("no nonce", lambda line: line.say({"type": "Challenge", "payload": {}})),
        ("versions that nobody speaks", lambda line: line.say(challenge(version_lo=2, version_hi=65535))),
        ("highest version below the lowest", lambda line: line.say(challenge(version_lo=1, version_hi=0))),
        ("Challenge and Authenticated twice", twice),
        ("Authenticated before the login", lambda line: line.say({"type": "Authenticated", "payload": {"version": 1, "ice_servers": []}})),
        ("a version nobody asked for", answer("Authenticated", version=7, ice_servers=[])),
        ("nine STUN servers", answer("Authenticated", version=1, ice_servers=[{"urls": "stun:192.0.2.1:1"}] * 9)),
        ("STUN servers on this computer, for everybody, without a name", answer(
            "Authenticated", version=1, ice_servers=[{"urls": u} for u in stun])),
        ("replies with other ids", other_id),
        ("closed after the login", asked),
        ("superseded before the login", lambda line: line.say({"type": "Error", "payload": {"code": "rate_limited", "message": "x"}})),
        *((f"refused with {code}", answer("Error", code=code, message="no", retry_after_s=86400))
          for code in ("bad_login", "unsupported_version", "server_error", "no_such_code")),
    ]


class Stage:
    """The impostor's present play, and the honest answers that lead to it."""

    def __init__(self, lab):
        self.network = None  # made by the client
        self.play, self.kind = None, "good"
        self.served, self.line = 0, None
        self.impostor = Impostor(lab.server, SERVER_IPV4, PLAIN, self.scene)

    def scene(self, sock):
        kind, play = self.kind, self.play
        try:
            if kind == "socket":
                play(sock)
                return
            line = self.line = Line(sock)
            line.welcome()
            if kind == "login":
                play(line)
                time.sleep(HOLD_S)
                return
            line.say(reply(asked(line), "Authenticated", version=1, ice_servers=[]))
            self.serve(line, play)
        finally:
            self.served += 1

    def serve(self, line, play):
        """Honest until the client has connected to its network; then the play, if there is one."""
        while True:
            m = json.loads(line.next_text())
            answer = self.answer(m)
            if answer:
                line.say(answer)
            if m["type"] == "ConnectNetwork" and play:
                play(line)
                time.sleep(HOLD_S)
                return

    def answer(self, m):
        kind, p = m["type"], m["payload"]
        if kind == "CreateNetwork":
            self.network = Network.of(unb64(p["document"]), None)
            self.admission = p["admission"]
            return reply(m, "NetworkCreated", **self.facts())
        if kind == "ConnectNetwork":
            return reply(m, "NetworkConnected", **self.facts())
        if kind == "Ping":
            return reply(m, "Pong", unix_s=1)
        return None

    def facts(self):
        host = self.network.subnet[0].rpartition(".")[0] + ".1"
        return {"network_id": self.network.text_id, "code": "abcdefghij", "network_name": self.network.name, "computer_ip": host,
                "prefix_length": self.network.subnet[1], "ipv6": "fd00::1", "subnet": "%s/%d" % self.network.subnet,
                "document": b64(self.network.document), "computers": []}


class Bed:
    def __init__(self, lab):
        self.lab, self.rows = lab, []
        server = Server(lab).start()
        self.dora = Computer(lab, lab.home("open"), name="dora").start()
        emil = Computer(lab, lab.home("open"), name="emil").start()
        emil.join(self.dora.create("honest", server)["invite"])
        addresses = wait_mesh(lab, [self.dora, emil])
        self.source, self.target = addresses[self.dora], addresses[emil]
        self.stage, self.server = Stage(lab), server
        self.front = Server(lab, tls="off", port=PLAIN)
        self.dora.create("false", self.front, "--subnet", "%s/%d" % SUBNET)
        self.elsewhere = Impostor(lab.server, SERVER_IPV4, ELSEWHERE, lambda sock: None)
        self.turn("good", None)  # warm
        self.arrivals, self.living = Arrivals(emil.node), Sender(self.dora.node, self.target)
        self.rss = rss_kb(self.dora.process.pid)

    def nudge(self):
        """A change of the computer's routes makes it ask at once."""
        for what in ("add", "del"):
            self.dora.node.ip(f"route {what} 198.51.100.0/24 via 203.0.113.1")

    def turn(self, kind, play):
        """One connection that sees this play, to its end."""
        stage = self.stage
        stage.kind, stage.play = kind, play
        before, served = stage.impostor.count, stage.served
        if stage.line:
            stage.line.close()

        def asks():
            if stage.impostor.count == before:
                self.nudge()
            return stage.impostor.count > before
        self.lab.wait(asks, 20, "the client asks again", 0.1)
        if play:
            self.lab.wait(lambda: stage.served > served, 60, "the play is over")

    def run(self, group, name, kind, play):
        alive = self.arrivals.of(self.source)
        self.turn(kind, play)
        self.holds(f"{group}: {name}", alive)
        self.rows.append((name, group, "lives on and asks again"))

    def holds(self, what, alive):
        check(self.dora.process.poll() is None, f"{what}: govpnd ended with {self.dora.process.returncode}")
        self.lab.wait(lambda: self.arrivals.of(self.source) > alive, 5, f"{what}: the living path goes on")


# ---- joining an impostor's network: fn(request, network, facts) ----

def joins():
    def fact(**fields):
        return lambda m, net, facts: reply(m, "NetworkJoined", **{**facts, **fields})

    def document(change, **fields):
        def fn(m, net, facts):
            change(net, unb64(m["payload"]["admission"])[21:53])
            return reply(m, "NetworkJoined", **{**facts, "document": b64(net.sign()), **fields})
        return fn

    def error(**payload):
        return lambda m, net, facts: reply(m, "Error", **payload)

    def subnet(*value):
        return document(lambda net, key: setattr(net, "subnet", value), computer_ip=value[0][:-1] + "9")

    return [(name, code, fn) for code, plays in ((FAILED, [
        *((f"address {ip}", fact(computer_ip=ip)) for ip in (
            "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.7", "10.66.2.0", "10.66.2.255")),
        ("document of another network", lambda m, net, facts: reply(m, "NetworkJoined", **{
            **facts, "document": b64(Network(Key()).document)})),
        ("document with a changed signature", lambda m, net, facts: reply(m, "NetworkJoined", **{
            **facts, "document": hostile.flip(facts["document"], -1)})),
        ("document without the invite", document(lambda net, key: net.invites.clear())),
        ("document that bans the newcomer", document(lambda net, key: net.banned.add(key))),
        ("the default route as subnet", subnet("0.0.0.0", 0)),
        ("127.0.0.0/16 as subnet", subnet("127.0.0.0", 16)),
        ("224.0.0.0/24 as subnet", subnet("224.0.0.0", 24)),
        ("a subnet of the Internet", subnet("8.8.8.0", 24)),
    ]), (CONFLICT, [
        ("a label with a quote", error(code="name_taken", message="x", suggestion='"; rm -rf /')),
        ("a subnet that holds the computer's own address", subnet("10.99.0.0", 16)),
        ("labels that are taken without end", error(code="name_taken", message="x", suggestion="dora-2")),
    ])) for name, fn in plays]


def join_all(bed):
    """dora joins by a link to the impostor, and gets answers that must not count."""
    bed.dora.node.ip("addr add 10.99.3.1/24 dev lo")
    stage, before = bed.stage, (bed.dora.interfaces(), bed.dora.node.run("ip", "route").stdout)
    bed.turn("good", None)
    for name, code, fn in joins():
        net = Network(Key(), "trap", ("10.66.2.0", 24))
        link = f"http://{SERVER_IPV4}:{PLAIN}/j/{net.text_id}#1.{b64(net.invite.seed)}"
        facts = {**stage.facts(), "network_id": net.text_id, "document": b64(net.document), "computer_ip": "10.66.2.9",
                 "subnet": "10.66.2.0/24"}
        honest = stage.answer
        stage.answer = lambda m, fn=fn, net=net, facts=facts: fn(m, net, facts) if m["type"] == "JoinNetwork" else honest(m)
        result = bed.dora.run("join", "--insecure", link)
        stage.answer = honest
        check(result.code == code, f"join, {name}: {result}")
        check((bed.dora.interfaces(), bed.dora.node.run("ip", "route").stdout) == before, f"join, {name}: the system was changed")
        check(net.text_id not in [n["id"] for n in bed.dora.networks()], f"join, {name}: the network is in the list")
        bed.rows.append((name, "NetworkJoined", f"`join` fails with {code}"))


# ---- TLS: each is one `create` that must fail ----

def tls_all(bed):
    lab, play = bed.lab, {}
    for name in ("server", "other"):
        command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{RUN}/{name}.key",
                "-out", f"{RUN}/{name}.crt", "-subj", f"/CN={name}.test", "-addext", f"subjectAltName=DNS:{name}.test")

    def secured(then=None, **limits):
        def fn(sock):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{RUN}/server.crt", f"{RUN}/server.key")
            for limit, value in limits.items():
                setattr(context, limit, value)
            with context.wrap_socket(sock, server_side=True) as inside:
                (then or (lambda s: s.recv(100)))(inside)
        return fn

    def serve(sock):
        try:
            play["now"](sock)
        except (OSError, ValueError):
            pass

    Impostor(lab.server, SERVER_IPV4, TLS, serve)
    url = f"https://{SERVER_IPV4}:{TLS}"
    wrong_pin = ("--pin", b64(bytes(32)))
    for name, fn, trust, why in (
        ("a certificate nobody vouches for", secured(), (), "is not trusted"),
        ("another certificate than the pin's", secured(), wrong_pin, "not the one of the pin"),
        ("a certificate of another name", secured(), ("--ca", f"{RUN}/server.crt"), "for another name"),
        ("a certificate of another authority", secured(), ("--ca", f"{RUN}/other.crt"), "is not trusted"),
        ("TLS 1.1", secured(maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1), ("--insecure",), ""),
        ("plain HTTP in the place of TLS", http("HTTP/1.1 101 Switching Protocols\r\n\r\n"), ("--insecure",), ""),
        ("noise in the place of TLS", http(os.urandom(5000)), ("--insecure",), ""),
        ("an alert", http(b"\x15\x03\x03\x00\x02\x02\x28"), ("--insecure",), ""),
        ("a record of 65,535 bytes", http(b"\x16\x03\x03\xff\xff" + bytes(65535)), ("--insecure",), ""),
        ("a certificate that fits, and noise", secured(http(os.urandom(500))), ("--insecure",), ""),
        ("closed in the handshake", lambda sock: sock.recv(10), ("--insecure",), ""),
    ):
        play["now"] = fn
        result = bed.dora.refused(NO_SERVER, "create", "x", "--server", url, *trust)
        check(why in result.err, f"TLS, {name}: {result.err}")
        bed.rows.append((name, "TLS", "`create` fails with 9"))


def logins_elsewhere(bed, replays):
    """A login is for the server that was dialled, and for one challenge."""
    play = handed_on(bed.server, replays)
    bed.run("login", f"handed on to an honest server, and {replays} times again", "login", play)
    bed.lab.wait(lambda: len(play.answers) == 1 + replays, 10, "all are answered")
    check(set(play.answers) == {"bad_login"}, f"an honest server answered {set(play.answers)}")
    bed.rows[-1] = (*bed.rows[-1][:2], "`bad_login` each time")


def backoff(bed):
    """By now it waits long: without a nudge nobody comes for a while."""
    stage = bed.stage
    stage.kind, stage.play = "login", asked
    bed.nudge()
    time.sleep(0.5)
    count = stage.impostor.count
    time.sleep(3)
    more = stage.impostor.count - count
    check(more <= 1, f"{more} connections in 3 s to a server that closes each")


def scenario(lab):
    bed = Bed(lab)
    for kind, (group, plays) in (("socket", before_websocket()), ("login", login()), ("good", frames(lab.long)), ("good", texts()),
                                 ("good", all_types(bed.stage.network, lab.long))):
        for name, play in plays:
            bed.run(group, name, kind, play)
    logins_elsewhere(bed, 100 if lab.long else 10)
    check(bed.elsewhere.count == 0, f"{bed.elsewhere.count} redirects were followed")
    join_all(bed)
    tls_all(bed)
    backoff(bed)
    bed.living.stop()
    time.sleep(0.2)
    lost = bed.living.sent - len(bed.arrivals.numbers[bed.source])
    check(lost <= LOST_AT_MOST, f"the living path lost {lost} of {bed.living.sent}")
    grown = rss_kb(bed.dora.process.pid) - bed.rss
    check(grown <= 5 * 1024, f"resident memory grew by {grown} kB")
    if os.environ.get("GOVPN_WRITE_DOCS"):
        write_table("impostor", HEAD, compact((group, name, holds) for name, group, holds in bed.rows))
    return f"{len(bed.rows)} variants, living path lost {lost} of {bed.living.sent}, memory +{max(grown, 0)} kB"
