# SPDX-License-Identifier: MIT
"""
Signaling servers that lie, for tests of govpnd. Middle stands between real clients and a real server and changes what it
likes; Impostor is no server at all and says what it is told. Both speak plain WebSocket, as behind a proxy that ends TLS.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import struct
import threading
import zlib

import sigclient
from sigclient import Frames, b64, frame, unb64

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
L = 2**252 + 27742317777372353535851937790883648493  # order of Ed25519's base point


class Line(Frames):
    """One client that is connected to us."""

    def __init__(self, sock):
        super().__init__(sock)
        self.lock = threading.Lock()
        self.key = self.session = None  # of the client, as text, once it has shown them

    def welcome(self):
        """Answers its upgrade."""
        key = re.search(rb"(?i)^sec-websocket-key: *(\S+)", self.head(), re.M)[1]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def raw(self, data):
        with self.lock:
            self.socket.sendall(data)

    def pong(self, data):
        self.raw(frame(10, data))

    def say(self, m):
        """A message (dictionary) or the text of one (bytes)."""
        self.raw(frame(1, m if isinstance(m, bytes) else json.dumps(m).encode()))

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Listener:
    """Serves each connection to an address of a node in a thread of its own."""

    def __init__(self, node, address, port):
        self.node = node
        with node:
            self.socket = socket.create_server((address, port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            sock, _ = self.socket.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock):
        try:
            self.serve(sock)
        except (OSError, sigclient.Closed):
            pass
        finally:
            sock.close()


class Tamper:
    """What Middle does to messages: each method returns what goes on in the place of m (a dictionary, or the text of
    one), a list of such, or None for nothing. `line` is that of the client that gets or sent it."""

    def to_client(self, _middle, _line, m):
        return m

    def to_server(self, _middle, _line, m):
        return m


class Middle(Listener):
    """Between clients and a server. tamper may be changed at any time; archive keeps all descriptions that passed:
    (key of the sender, message as the server would deliver it), connected the last honest NetworkConnected of each key."""

    def __init__(self, node, address, port, upstream):
        self.upstream, self.tamper, self.lines, self.archive, self.connected = upstream, Tamper(), {}, [], {}
        super().__init__(node, address, port)

    def serve(self, sock):
        line = Line(sock)
        line.welcome()
        with self.node:
            server = Frames(socket.create_connection(self.upstream))
        sigclient.upgrade(server, "%s:%d" % self.upstream)
        line.server = server
        back = threading.Thread(target=self._down, args=(line, server), daemon=True)
        back.start()
        try:
            while True:
                text = line.next_text()
                m = json.loads(text)
                if m["type"] == "Authenticate":
                    line.key, line.session = m["payload"]["key"], m["payload"]["session"]
                    self.lines[line.key] = line
                self._keep(line, m)
                for out in self._out(self.tamper.to_server(self, line, m), m, text):
                    server.socket.sendall(frame(1, out, mask=bytes(4)))
        finally:
            server.socket.close()
            if self.lines.get(line.key) is line:
                del self.lines[line.key]

    def _down(self, line, server):
        server.pong = lambda data: server.socket.sendall(frame(10, data, mask=bytes(4)))
        try:
            while True:
                text = server.next_text()
                m = json.loads(text)
                if m["type"] in ("NetworkConnected", "NetworkJoined"):
                    self.connected[line.key] = m["payload"]
                for out in self._out(self.tamper.to_client(self, line, m), m, text):
                    line.say(out)
        except (OSError, sigclient.Closed):
            pass
        finally:
            line.close()

    @staticmethod
    def _out(made, m, text):
        if made is m:
            return [json.dumps(m).encode()] if m != json.loads(text) else [text]
        made = made if isinstance(made, list) else [] if made is None else [made]
        return [one if isinstance(one, bytes) else json.dumps(one).encode() for one in made]

    def _keep(self, line, m):
        if m["type"] in ("SdpOffer", "SdpAnswer"):
            self.archive.append((line.key, {"type": m["type"], "payload": {**m["payload"], "sender_id": line.key}}))


class Accomplice(Tamper):
    """The server keeps somebody in the network who was removed: it hides the newer document from him and from some
    members, answers him in the place of the server, and carries what he and the others say to each other.

    old: the payload of a NetworkConnected from before the removal; victims: keys of members that get its document."""

    def __init__(self, outlaw, address, old, victims):
        self.outlaw, self.address, self.old, self.victims = outlaw, address, old, set(victims)
        self.admission = next((c["admission"] for c in old["computers"] if c["key"] == outlaw), None)

    def entry(self, middle):
        return {"key": self.outlaw, "online": True, "session": middle.lines[self.outlaw].session, "ip": self.address, "ipv6": "fd00::1",
                "admission": self.admission}

    def announce(self, middle):
        """Tells everybody else that he is here."""
        for key, line in list(middle.lines.items()):
            if key != self.outlaw:
                line.say({"type": "ComputerConnected", "payload": {"network_id": self.old["network_id"], "computer": self.entry(middle)}})

    def to_server(self, middle, line, m):
        p = m["payload"]
        if line.key != self.outlaw and p.get("target_id") != self.outlaw:
            return m
        if "target_id" in p:
            to = middle.lines.get(p["target_id"])
            if to:
                to.say({"type": m["type"], "payload": {**p, "sender_id": line.key}})
        elif m["type"] in ("ConnectNetwork", "JoinNetwork"):
            self.admission = p.get("admission") or self.admission
            computers = [{**c, "online": True, "session": middle.lines[c["key"]].session} for c in self.old["computers"]
                         if c["key"] in middle.lines and c["key"] != self.outlaw]
            kind = "NetworkConnected" if m["type"] == "ConnectNetwork" else "NetworkJoined"
            line.say(reply(m, kind, **{**self.old, "computer_ip": self.address, "computers": [*computers, self.entry(middle)]}))
            self.announce(middle)
        else:
            return m
        return None

    def to_client(self, middle, line, m):
        p = m["payload"]
        if line.key != self.outlaw and line.key not in self.victims:
            return m
        if m["type"] in ("Kicked", "DocumentUpdated", "ComputerLeft") and "message_id" not in m:
            return None
        if m["type"] == "NetworkConnected" and p["network_id"] == self.old["network_id"]:
            return {**m, "payload": {**p, "document": self.old["document"], "computers": [
                *(c for c in p["computers"] if c["key"] != self.outlaw), self.entry(middle)]}}
        return m


class Impostor(Listener):
    """A server that answers a client as far as it is told: `scene` is called with each new socket."""

    def __init__(self, node, address, port, scene):
        self.scene, self.count = scene, 0
        super().__init__(node, address, port)

    def serve(self, sock):
        self.count += 1
        self.scene(sock)


def challenge(**more):
    return {"type": "Challenge", "payload": {"nonce": b64(os.urandom(32)), "version_lo": 1, "version_hi": 1,
                                             "unix_s": 1800000000, **more}}


def reply(request, kind, **payload):
    return {"message_id": request["message_id"], "type": kind, "payload": payload}


# ---- spoiling things ----

def flip(text, at=0):
    """base64url with one bit changed."""
    data = bytearray(unb64(text))
    data[at] ^= 1
    return b64(bytes(data))


def malleable(signature):
    """The same signature with S + L in the place of S, which a careless verifier takes."""
    data = unb64(signature)
    return b64(data[:32] + (int.from_bytes(data[32:], "little") + L).to_bytes(32, "little"))


# Keys that an Ed25519 verifier must refuse: with the neutral element as key, R = that and S = 0 verify for every message.
SMALL_ORDER = bytes([1]) + bytes(31)
NOT_CANONICAL = (2**255 - 19 + 1).to_bytes(32, "little")  # the same point, y written as p + 1
FITS_ALL = SMALL_ORDER + bytes(32)


def described(key, network, target, kind, sdp, address, session, offer=None):
    """An SdpOffer of `key` (a Key), or its SdpAnswer to `offer` (a payload), as the server would deliver it."""
    nonce = os.urandom(16)
    role = "answerer" if offer else "offerer"
    fields = [network, key.public, unb64(target), socket.inet_aton(address), int(session, 16), role, nonce, sdp]
    more = {}
    if offer:
        asked = sigclient.signature_input("goVPN/1 offer", network, unb64(offer["sender_id"]), key.public,
                                          socket.inet_aton(offer["address"]), int(offer["session"], 16), "offerer",
                                          unb64(offer["nonce"]), offer["sdp"])
        fields += [hashlib.sha256(asked).digest(), unb64(offer["signature"])]
        more = {"offer_nonce": offer["nonce"]}
    signed = sigclient.signature_input("goVPN/1 answer" if offer else "goVPN/1 offer", *fields)
    return {"type": kind, "payload": {
        "network_id": sigclient.b32(network), "target_id": target, "sender_id": b64(key.public), "session": session,
        "nonce": b64(nonce), **more, "address": address, "sdp": sdp, "signature": b64(key.sign(signed))}}


def resized(document, **changes):
    """A document with other values where the fixed fields stand, signed by nobody."""
    data = bytearray(document)
    for name, value in changes.items():
        at, form = {"version": (0, "B"), "epoch": (49, ">Q"), "salt": (33, "16s"), "owner": (1, "32s")}[name]
        struct.pack_into(form, data, at, value)
    return bytes(data)


# ---- ICE: the server has seen the passwords of every description ----

COOKIE = 0x2112A442


def stun(kind, transaction, attributes, password):
    """A STUN message (RFC 8489) with MESSAGE-INTEGRITY and FINGERPRINT. attributes: [(type, bytes)]"""
    body = b"".join(struct.pack(">HH", t, len(v)) + v + bytes(-len(v) % 4) for t, v in attributes)

    def head(more):
        return struct.pack(">HHI", kind, len(body) + more, COOKIE) + transaction
    body += struct.pack(">HH", 8, 20) + hmac.new(password.encode(), head(24) + body, hashlib.sha1).digest()
    body += struct.pack(">HHI", 0x8028, 4, zlib.crc32(head(8) + body) ^ 0x5354554E)
    return head(0) + body


class Lure:
    """Draws the path of the controlled side of a pair to an address of ours: its peer's checks, made by us, nominate it, and
    its own checks are answered. What comes then is kept."""

    def __init__(self, node, offer, answer, target):
        self.names, self.passwords = ([re.search(rf"a=ice-{what}:(\S+)", p["sdp"])[1] for p in (offer, answer)]
                                      for what in ("ufrag", "pwd"))
        self.target, self.drawn, self.asked, self.going = target, [], 0, True
        with node:
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.settimeout(0.05)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _check(self):
        name = f"{self.names[1]}:{self.names[0]}".encode()
        return stun(1, os.urandom(12), [(6, name), (0x24, struct.pack(">I", 0x7EFFFFFF)), (0x802A, bytes(8)), (0x25, b"")],
                    self.passwords[1])

    def _answer(self, data, address):
        mask = struct.pack(">I", COOKIE) + data[8:20]
        ip = bytes(a ^ b for a, b in zip(socket.inet_pton(socket.AF_INET6, address[0]), mask))
        mapped = struct.pack(">HH", 2, address[1] ^ COOKIE >> 16) + ip
        return stun(0x101, data[8:20], [(0x20, mapped)], self.passwords[0])

    def _run(self):
        while self.going:
            self.socket.sendto(self._check(), self.target)
            try:
                for _ in range(20):
                    data, address = self.socket.recvfrom(65535)
                    if data[:2] == b"\x00\x01":
                        self.asked += 1
                        self.socket.sendto(self._answer(data, address), address)
                    elif data[:2] != b"\x01\x01":
                        self.drawn.append(data)
            except TimeoutError:
                pass

    def stop(self):
        self.going = False
        self.thread.join()
        self.socket.close()
