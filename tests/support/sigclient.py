# SPDX-License-Identifier: MIT
"""
A signaling client of its own, for black-box tests of govpn-server: WebSocket, Ed25519, network documents and admissions as
docs/protocol.md has them, with the standard library alone. Nothing here is meant to be fast or safe against side channels.
"""

import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import time

# ---- Ed25519 (RFC 8032), by its definition ----

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)


def _recover_x(y, sign):
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P != 0:
        x = x * _SQRT_M1 % _P
    return _P - x if x % 2 != sign else x


_BY = 4 * pow(5, _P - 2, _P) % _P
_BX = _recover_x(_BY, 0)
_BASE = (_BX, _BY, 1, _BX * _BY % _P)


def _add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(n, p):
    q = (0, 1, 1, 0)
    while n > 0:
        if n & 1:
            q = _add(q, p)
        p = _add(p, p)
        n >>= 1
    return q


def _encode(p):
    inverse = pow(p[2], _P - 2, _P)
    x, y = p[0] * inverse % _P, p[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


class Key:
    """An Ed25519 key of a seed (32 bytes; random when left out)."""

    def __init__(self, seed=None):
        self.seed = seed or os.urandom(32)
        digest = hashlib.sha512(self.seed).digest()
        self._a = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
        self._prefix = digest[32:]
        self.public = _encode(_multiply(self._a, _BASE))

    def sign(self, message):
        r = _number(self._prefix, message) % _L
        big_r = _encode(_multiply(r, _BASE))
        k = _number(big_r, self.public, message) % _L
        return big_r + ((r + k * self._a) % _L).to_bytes(32, "little")


# ---- docs/protocol.md, sections 1 to 4 ----

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b32(data):
    return base64.b32encode(data).rstrip(b"=").decode().lower()


def signature_input(tag, *fields):
    out = b""
    for field in (tag, *fields):
        if isinstance(field, str):
            field = field.encode()
        elif isinstance(field, int):  # every number that is signed by itself has 64 bits
            field = struct.pack(">Q", field)
        out += struct.pack(">I", len(field)) + field
    return out


def _text(s):
    data = s.encode()
    return bytes([len(data)]) + data


def network_id(owner, salt):
    return hashlib.sha256(signature_input("goVPN/1 network id", owner, salt)).digest()[:20]


def admission(network, member, label, invite=None, when=None, later=0):
    """An admission of `member` (a Key) to the network with this id by `invite` (a Key; None: owner or listed), `later` seconds
    newer than its joining."""
    when = int(time.time()) if when is None else when
    by = signature_input("goVPN/1 invite", network, member.public, when)
    content = bytes([1]) + network + member.public + (invite.public if invite else bytes(32))
    content += struct.pack(">Q", when) + (invite.sign(by) if invite else bytes(64))
    content += _text(label) + _text(label) + struct.pack(">Q", when + later)
    return content + member.sign(signature_input("goVPN/1 admission", content))


class _Taker:
    """Takes one thing after the other from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]


class Network:
    """A network of `owner` (a Key), with one invite by link."""

    def __init__(self, owner, name="party", subnet=("10.77.1.0", 24), uses=0, expires=0):
        self.owner, self.name, self.subnet = owner, name, subnet
        self.salt, self.epoch, self.previous = os.urandom(16), 0, bytes(32)
        self.invite = Key()
        self.invites = {self.invite.public: (uses, expires, 1)}
        self.members, self.banned = set(), set()
        self.id = network_id(owner.public, self.salt)
        self.document = None
        self.sign()

    @classmethod
    def of(cls, document, owner):
        """A network whose document somebody else made; sign() makes the next one, as `owner` (a Key) would."""
        self, take = cls.__new__(cls), _Taker(document)
        self.owner, self.document = owner, document
        take.bytes(33)  # version, owner
        self.salt, self.epoch, self.previous = take.bytes(16), take.number(">Q"), take.bytes(32)
        self.name = take.bytes(take.number("B")).decode()
        self.subnet = socket.inet_ntoa(take.bytes(4)), take.number("B")
        self.invites = {take.bytes(32): (take.number(">I"), take.number(">Q"), take.number("B"))
                        for _ in range(take.number(">H"))}
        self.members, self.banned = ({take.bytes(32) for _ in range(take.number(">H"))} for _ in range(2))
        self.id = network_id(document[1:33], self.salt)
        self.previous = hashlib.sha256(signature_input("goVPN/1 document", document[:-64])).digest()
        return self

    @property
    def text_id(self):
        return b32(self.id)

    def sign(self):
        """Makes the next document."""
        self.epoch += 1
        content = bytes([1]) + self.owner.public + self.salt + struct.pack(">Q", self.epoch) + self.previous
        content += _text(self.name) + socket.inet_aton(self.subnet[0]) + bytes([self.subnet[1]])
        content += struct.pack(">H", len(self.invites))
        for key, (uses, expires, kind) in sorted(self.invites.items()):
            content += key + struct.pack(">IQB", uses, expires, kind)
        for keys in (self.members, self.banned):
            content += struct.pack(">H", len(keys)) + b"".join(sorted(keys))
        signed = signature_input("goVPN/1 document", content)
        self.document = content + self.owner.sign(signed)
        self.previous = hashlib.sha256(signed).digest()
        return self.document

    def admission(self, member, label, invite=None, when=None, later=0):
        """An admission of `member` (a Key) by `invite` (a Key; None: owner or listed), `later` seconds newer than its joining."""
        return admission(self.id, member, label, invite, when, later)


def label_of(admission):
    """The label in an encoded admission, as the server lists it."""
    data = unb64(admission)
    at = 1 + 20 + 32 + 32 + 8 + 64
    at += 1 + data[at]
    return data[at + 1:at + 1 + data[at]].decode()


# ---- WebSocket and messages ----

def frame(opcode, data, fin=True, mask=b""):
    """The bytes of one frame; with a mask (4 bytes) as a client sends it."""
    size, bit = len(data), 0x80 if mask else 0
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([bit | size])
    else:
        head += bytes([bit | 126]) + struct.pack(">H", size) if size < 65536 \
            else bytes([bit | 127]) + struct.pack(">Q", size)
    return head + mask + masked(data, mask)


def masked(data, mask):
    if not any(mask):
        return data
    size = len(data)
    whole = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return (int.from_bytes(data, "big") ^ whole).to_bytes(size, "big")


class Frames:
    """Reads what comes over a socket."""

    def __init__(self, sock):
        self.socket, self.buffer = sock, b""

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise Closed("end of stream")
        self.buffer += data

    def take(self, n):
        while len(self.buffer) < n:
            self._fill()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def head(self):
        """An HTTP head, without the empty line."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def next_frame(self):
        """(opcode, is it the last one, data)"""
        first, second = self.take(2)
        size = second & 0x7f
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        mask = self.take(4) if second & 0x80 else b""
        return first & 0x0f, bool(first & 0x80), masked(self.take(size), mask)

    def next_text(self):
        """The bytes of the next text message. Answers pings by pong(data)."""
        text = b""
        while True:
            opcode, fin, data = self.next_frame()
            if opcode == 9:
                self.pong(data)
            elif opcode == 8:
                raise Closed(f"closed with {data[:2].hex()}")
            elif opcode in (0, 1):
                text += data
                if fin:
                    return text

    def pong(self, data):
        pass


class Closed(Exception):
    """The server closed the connection."""


class Refused(Exception):
    """The server answered with Error."""

    def __init__(self, payload):
        super().__init__(f"{payload['code']}: {payload['message']}")
        self.code, self.payload = payload["code"], payload


def upgrade(frames, host):
    """Asks for the WebSocket of a server."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    frames.socket.sendall(f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = frames.head()
    if not head.startswith(b"HTTP/1.1 101"):
        raise Closed(head.split(b"\r\n")[0].decode())


class Client(Frames):
    """One connection to a server. url: http://HOST:PORT or https://HOST:PORT (whose certificate is not checked)."""

    def __init__(self, url, key=None, timeout=10, session=None, source=None):
        self.key = key or Key()
        self.session = session or os.urandom(7).hex() + "01"
        scheme, _, self.host = url.partition("://")
        name, _, port = self.host.rpartition(":")
        super().__init__(socket.create_connection((name.strip("[]"), int(port)), timeout, (source, 0) if source else None))
        if scheme == "https":
            self.socket = ssl._create_unverified_context().wrap_socket(self.socket)
        self.notices, self.next_id = [], 0
        upgrade(self, self.host)

    def send_frame(self, opcode, data, fin=True):
        self.socket.sendall(frame(opcode, data, fin, os.urandom(4)))

    def pong(self, data):
        self.send_frame(10, data)

    def receive(self):
        """The next text message, as a dictionary. Answers pings."""
        return json.loads(self.next_text())

    def send(self, kind, **payload):
        """Sends one message and returns its id."""
        self.next_id += 1
        self.send_frame(1, json.dumps({"message_id": str(self.next_id), "type": kind, "payload": payload}).encode())
        return str(self.next_id)

    def request(self, kind, **payload):
        """Sends a request and returns the payload of its reply; what comes before it goes to `notices`."""
        message_id = self.send(kind, **payload)
        while True:
            m = self.receive()
            if m.get("message_id") == message_id:
                if m["type"] == "Error":
                    raise Refused(m["payload"])
                return m["payload"]
            self.notices.append(m)

    def expect(self, kind):
        """The payload of the next notice of this type; others are dropped."""
        while True:
            m = self.notices.pop(0) if self.notices else self.receive()
            if m["type"] == kind:
                return m["payload"]

    def login(self, host=None):
        challenge = self.expect("Challenge")
        host = host or self.host
        signed = signature_input("goVPN/1 login", host, self.key.public, unb64(challenge["nonce"]),
                                 int(self.session, 16))
        return self.request("Authenticate", key=b64(self.key.public), session=self.session, host=host,
                            signature=b64(self.key.sign(signed)), version_lo=1, version_hi=1)

    def create(self, network, label="owner"):
        return self.request("CreateNetwork", document=b64(network.document),
                            admission=b64(network.admission(self.key, label)))

    def join(self, network, label, invite=None):
        admission = network.admission(self.key, label, invite or network.invite)
        return self.request("JoinNetwork", network_id=network.text_id, admission=b64(admission))

    def rename(self, network, label, later, invite=None):
        """A newer admission with another label."""
        admission = network.admission(self.key, label, invite or network.invite, later=later)
        return self.request("UpdateClientInfo", network_id=network.text_id, admission=b64(admission))

    def connect(self, network):
        return self.request("ConnectNetwork", network_id=network.text_id)

    def update(self, network):
        return self.request("UpdateDocument", network_id=network.text_id, document=b64(network.document))

    def leave(self, network):
        now = int(time.time())
        signed = signature_input("goVPN/1 leave", network.id, self.key.public, int(self.session, 16), now)
        return self.request("LeaveNetwork", network_id=network.text_id, session=self.session, unix_s=now,
                            signature=b64(self.key.sign(signed)))

    def offer(self, network, target, sdp="v=0\r\n"):
        return self.send("SdpOffer", network_id=network.text_id, target_id=b64(target.public), session=self.session,
                         nonce=b64(os.urandom(16)), address="10.77.1.1", sdp=sdp, signature=b64(bytes(64)))

    def close(self):
        self.socket.close()
