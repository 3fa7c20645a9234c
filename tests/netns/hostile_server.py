# SPDX-License-Identifier: MIT
"""A server in the middle of real clients: whatever it changes, replays, mixes, adds or withholds, no inner packet passes
under a false identity, nothing on a computer changes by its word alone, and a path that lives goes on.

    h1 "anna" (owner), h2 "bert", h3 "carl" (public) -- inet -- server: Middle :8443 -> govpn-server :9000

The pair anna and bert is made anew for each variant, under attack; anna and carl keep the path they had at the beginning.
mara is a member that works together with the server (variants that say so); she exists in this process only.
`GOVPN_WRITE_DOCS=1` writes the table of docs/testing.md.
"""

import json
import os
import re
import struct
import subprocess
import sys
import threading
import time

from docs import HEAD, compact, write_table
from govpn import Computer, Server, program, wait_mesh
from innerflow import Arrivals, Sender
from lab import SERVER_IPV4, check
from process import rss_kb

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hostile
import sigclient
from hostile import FITS_ALL, NOT_CANONICAL, SMALL_ORDER, Middle, Tamper, described, flip, malleable
from sigclient import Key, Network, admission, b64, signature_input, unb64

TIME_LIMIT_S = 180
LONG_TIME_LIMIT_S = 900
PORT, REAL_PORT = 8443, 9000
SETTLE_S = 0.35  # an honest pair needs about 0.1 s
LOST_AT_MOST = 5  # of the datagrams of the living path in all variants together, and one of 200: floods take the processors

REFUSED = "refused: 0 packets"
WITHHELD = "no path: 0 packets"
UP = "path comes up, true to key and address"
IGNORED = "ignored"


class Variant(Tamper):
    """One lie. want: how often it must have been told; holds: what must come of it."""

    def __init__(self, group, name, holds, want=1):
        self.group, self.name, self.holds, self.want, self.hits = group, name, holds, want, 0
        self.answers = 0  # to what must not be answered
        self.newcomer_sees = False  # bert shows what he was told, until a proof says otherwise


class Described(Variant):
    """Changes the payload of each description of a kind that goes to a client, by fn(payload)."""

    def __init__(self, name, kind, fn, holds=REFUSED, group="descriptions"):
        super().__init__(group, f"{name}, {'offer' if kind == 'SdpOffer' else 'answer'}", holds)
        self.kind, self.fn = kind, fn

    def to_server(self, middle, line, m):
        if self.kind == "SdpOffer" and m["type"] == "SdpAnswer" and line.key == WORLD.bert.key:
            self.answers += m["payload"]["target_id"] == WORLD.anna.key and m["payload"]["network_id"] == WORLD.net
        return m

    def to_client(self, middle, line, m):
        if m["type"] != self.kind or m["payload"].get("network_id") != WORLD.net or line.key == WORLD.carl.key or \
                m["payload"].get("sender_id") == WORLD.carl.key:
            return m
        if self.kind == "SdpOffer" and line.key == WORLD.anna.key:
            return None  # bert offers only when he waited long
        self.hits += 1
        out = self.fn(m["payload"])
        return out if out is None or isinstance(out, list) else {**m, "payload": out}


class World:
    """What the lies are made of."""

    def archived(self, kind, sender, target, old=False, net=None):
        """The payload of a description that passed before; old: of the session before the present one."""
        found = [m["payload"] for key, m in self.middle.archive if m["type"] == kind and key == sender.key and
                 m["payload"]["target_id"] == target.key and m["payload"]["network_id"] == (net or self.net)]
        sessions = [p["session"] for p in found]
        found = [p for p in found if not old or p["session"] != sessions[-1]]
        check(found, f"no {kind} from {sender.name} to {target.name} was seen")
        return found[-1]


WORLD = World()


# ---- descriptions ----

def put(**fields):
    return lambda p: {**p, **fields}


def change(name, fn):
    return lambda p: {**p, name: fn(p[name])}


def without(name):
    return lambda p: {k: v for k, v in p.items() if k != name}


def sdp(pattern, to):
    def fn(p):
        text, n = re.subn(pattern, to, p["sdp"], count=1, flags=re.M)
        check(n == 1, f"no {pattern} in the SDP")
        return {**p, "sdp": text}
    return fn


def other_digit(found):
    return found[1] + ("0" if found[2] != "0" else "1")


def other_letter(found):
    return found[1] + ("x" if found[2] != "x" else "y")


def changed_descriptions():
    w = WORLD
    lies = [
        ("DTLS fingerprint changed", sdp(r"^(a=fingerprint:sha-256 )(.)", other_digit)),
        ("DTLS fingerprint of another member", lambda p: {**p, "sdp": re.sub(
            r"(?m)^a=fingerprint.*", lambda _: re.search(r"a=fingerprint[^\r]*", w.archived(
                "SdpAnswer", w.carl, w.anna)["sdp"])[0], p["sdp"])}),
        ("fingerprint by a weaker hash", sdp(r"^a=fingerprint:sha-256 .*?(?=\r)", "a=fingerprint:sha-1 " + ":".join(["AB"] * 20))),
        ("a second fingerprint beside it", sdp(r"^(a=fingerprint:sha-256 .*?)(?=\r)",
                                              r"\1\r\na=fingerprint:sha-256 " + ":".join(["AB"] * 32))),
        ("no fingerprint", sdp(r"^a=fingerprint.*\n", "")),
        ("transport without DTLS", sdp(r"UDP/DTLS/SCTP", "RTP/AVP")),
        ("ICE user changed", sdp(r"^(a=ice-ufrag:)(.)", other_letter)),
        ("ICE password changed", sdp(r"^(a=ice-pwd:)(.)", other_letter)),
        ("DTLS role changed", sdp(r"^a=setup:\w+", "a=setup:passive")),
        ("candidate added to the SDP", lambda p: {**p, "sdp": p["sdp"] + "a=candidate:9 1 udp 99 203.0.113.10 9 typ host\r\n"}),
        ("one byte behind the SDP", change("sdp", lambda s: s + " ")),
        ("last byte of the SDP cut", change("sdp", lambda s: s[:-1])),
        ("SDP of another member's", lambda p: {**p, "sdp": w.archived("SdpAnswer", w.carl, w.anna)["sdp"]}),
        ("session counted up", change("session", lambda s: f"{int(s, 16) + 1:016x}")),
        ("session of another member", lambda p: {**p, "session": w.archived("SdpAnswer", w.carl, w.anna)["session"]}),
        ("another address", put(address=w.free)),
        ("address of another member", put(address=w.carl.ip)),
        ("nonce changed", change("nonce", flip)),
        ("signature of zeroes", put(signature=b64(bytes(64)))),
        ("signature with a bit changed", change("signature", flip)),
        ("signature with S + L", change("signature", malleable)),
        ("signature that fits every message of a small-order key", put(signature=b64(FITS_ALL))),
        ("signature cut by a byte", change("signature", lambda s: b64(unb64(s)[:-1]))),
        ("signature left out", without("signature")),
        ("another member as sender", put(sender_id=w.carl.key)),
        ("a stranger as sender", put(sender_id=b64(w.mara.public))),
        ("a small-order key as sender", put(sender_id=b64(SMALL_ORDER), signature=b64(FITS_ALL))),
        ("no sender", without("sender_id")),
        ("the receiver as sender", lambda p: {**p, "sender_id": p["target_id"]}),
        ("for another member", put(target_id=w.carl.key)),
        ("for another network of the same members", put(network_id=w.other)),
    ]
    return [Described(name, kind, fn) for name, fn in lies for kind in ("SdpOffer", "SdpAnswer")] + [
        Described("nonce of the offer changed", "SdpAnswer", change("offer_nonce", flip))]


def replayed_descriptions():
    """Only the old one arrives, or more than one."""
    w = WORLD

    def in_place(kind, sender, target, **what):
        return lambda p: {**w.archived(kind, sender, target, **what), "network_id": p["network_id"],
                          "target_id": p["target_id"], "sender_id": p["sender_id"]}

    def as_kind(kind, p, **fields):
        return [{"type": kind, "payload": {**p, **fields}}]

    def twice(p):
        return [{"type": "SdpOffer", "payload": p}] * 5

    group = "replay and reflection"
    return [
        Described("one of before, same session", "SdpOffer", lambda p: w.offers[0], WITHHELD, group),
        Described("one of the session before", "SdpOffer", in_place("SdpOffer", w.anna, w.bert, old=True), WITHHELD, group),
        Described("one of before, with the new nonce", "SdpOffer", lambda p: {**w.offers[0], "nonce": p["nonce"]}, REFUSED, group),
        Described("one of before", "SdpAnswer", lambda p: w.answers[0], REFUSED, group),
        Described("one of before, for the new offer", "SdpAnswer",
                  lambda p: {**w.answers[0], "offer_nonce": p["offer_nonce"]}, REFUSED, group),
        Described("one of the session before, for the new offer", "SdpAnswer",
                  lambda p: {**in_place("SdpAnswer", w.bert, w.anna, old=True)(p), "offer_nonce": p["offer_nonce"]}, REFUSED, group),
        Described("one made for another member", "SdpOffer", in_place("SdpOffer", w.anna, w.carl), REFUSED, group),
        Described("one of another network of the same owner", "SdpOffer",
                  in_place("SdpOffer", w.anna, w.bert, net=w.other), REFUSED, group),
        Described("one of another network, for the new offer", "SdpAnswer", lambda p: {
            **in_place("SdpAnswer", w.bert, w.anna, net=w.other)(p), "offer_nonce": p["offer_nonce"]}, REFUSED, group),
        Described("as an answer to itself, back to who made it", "SdpOffer", lambda p: w.back(p, as_kind(
            "SdpAnswer", p, offer_nonce=p["nonce"], sender_id=w.bert.key, target_id=w.anna.key)), WITHHELD, group),
        Described("back to who made it", "SdpOffer", lambda p: w.back(p, as_kind(
            "SdpOffer", p, sender_id=w.bert.key, target_id=w.anna.key)), WITHHELD, group),
        Described("as an offer", "SdpAnswer", lambda p: as_kind("SdpOffer", p), WITHHELD, group),
        Described("five times", "SdpOffer", twice, UP, group),
        Described("withheld", "SdpOffer", lambda p: None, WITHHELD, group),
        Described("withheld", "SdpAnswer", lambda p: None, WITHHELD, group),
        Described("signed by mara in the name of another, with her fingerprint", "SdpAnswer", lambda p: {
            **described(w.mara, w.id, w.anna.key, "SdpAnswer", p["sdp"], w.bert.ip, p["session"],
                        w.archived("SdpOffer", w.anna, w.bert))["payload"], "sender_id": w.bert.key}, REFUSED, group),
    ]


class Swapped(Variant):
    """bert's answer goes to anna in the place of carl's, and carl's in the place of bert's, both for their new offers."""

    def __init__(self):
        super().__init__("replay and reflection", "sessions of two members swapped, answer", REFUSED)

    def to_client(self, middle, line, m):
        if m["type"] == "SdpAnswer" and m["payload"]["sender_id"] == WORLD.bert.key and m["payload"]["network_id"] == WORLD.net:
            self.hits += 1
            theirs = WORLD.archived("SdpAnswer", WORLD.carl, WORLD.anna)
            p = m["payload"]
            return {**m, "payload": {**p, "session": theirs["session"], "sdp": theirs["sdp"], "nonce": theirs["nonce"],
                                     "signature": theirs["signature"]}}
        return m


class UnknownKeyShare(Variant):
    """mara and the server: anna's offer to mara goes to bert as mara's own, with anna's certificate, and bert's answer comes
    back as mara's. DTLS comes up between anna and bert, and each is to believe that the other one is mara."""

    def __init__(self):
        super().__init__("replay and reflection", "unknown key share: mara hands on the descriptions of others as hers", REFUSED, 2)
        self.offer = self.asked = None
        self.told = threading.Event()  # bert knows mara: only then may she offer

    def to_client(self, middle, line, m):
        w, p = WORLD, m["payload"]
        if m["type"] == "NetworkConnected" and p["network_id"] == w.net and line.key == w.bert.key:
            self.told.set()
            return {**m, "payload": {**p, "computers": [c for c in p["computers"] if c["key"] != w.anna.key] + [w.member_mara()]}}
        if m["type"] == "ComputerDisconnected" and p["network_id"] == w.net and line.key == w.anna.key:
            self.told.clear()
            w.mara_session = os.urandom(7).hex() + "01"  # she is back each time
        if m["type"] == "ComputerConnected" and p["network_id"] == w.net and p["computer"]["key"] == w.bert.key:
            self.told.wait(5)
            time.sleep(0.05)
            return {**m, "payload": {**p, "computer": w.member_mara()}}
        return m

    def to_server(self, middle, line, m):
        w, p = WORLD, m["payload"]
        mara = b64(w.mara.public)
        if p.get("target_id") != mara:
            return m
        if m["type"] == "SdpOffer" and line.key == w.anna.key:
            self.hits += 1
            self.asked = {**p, "sender_id": line.key}
            self.offer = described(w.mara, w.id, w.bert.key, "SdpOffer", p["sdp"], w.free, w.mara_session)
            w.line(w.bert).say(self.offer)
        elif m["type"] == "SdpAnswer" and line.key == w.bert.key:
            self.hits += 1
            w.line(w.anna).say(described(w.mara, w.id, w.anna.key, "SdpAnswer", p["sdp"], w.free, w.mara_session, self.asked))
        elif m["type"] == "IceCandidate" and self.offer:
            to, nonce = (w.bert, self.offer["payload"]["nonce"]) if line.key == w.anna.key else (w.anna, self.asked["nonce"])
            w.line(to).say({"type": "IceCandidate", "payload": {**p, "target_id": to.key, "sender_id": mara, "nonce": nonce}})
        return None


# ---- what the server says about members ----

class Members(Variant):
    """Changes what each of the two is told about the other, by fn(computer)."""

    def __init__(self, name, fn, holds=REFUSED, newcomer_sees=False):
        super().__init__("members", name, holds)
        self.fn = fn
        self.newcomer_sees = newcomer_sees

    def to_client(self, middle, line, m):
        w, p = WORLD, m["payload"]
        if p.get("network_id") != w.net or line.key == w.carl.key:
            return m
        if m["type"] == "NetworkConnected" and line.key == w.bert.key:
            self.hits += 1
            return {**m, "payload": {**p, "computers": [self.fn(c) if c["key"] == w.anna.key else c for c in p["computers"]]}}
        if m["type"] == "ComputerConnected" and p["computer"]["key"] == w.bert.key:
            return {**m, "payload": {**p, "computer": self.fn(p["computer"])}}
        return m


def inside(at, value):
    """The admission with other bytes at an offset (from the end when it is negative)."""
    def fn(c):
        data = bytearray(unb64(c["admission"]))
        at_ = at if at >= 0 else len(data) + at
        data[at_:at_ + len(value)] = bytes(a ^ b for a, b in zip(data[at_:], value))
        return {**c, "admission": b64(bytes(data))}
    return fn


NAME_AT = 1 + 20 + 32 + 32 + 8 + 64  # length of the display name in an admission


def members():
    w = WORLD
    return [
        Members("admission of another member", lambda c: {**c, "admission": w.carl_admission}),
        Members("admission with a changed display name", inside(NAME_AT + 1, b"\x01")),
        Members("admission with a changed label", lambda c: inside(NAME_AT + 2 + unb64(c["admission"])[NAME_AT], b"\x01")(c)),
        Members("length of the display name moved by one", inside(NAME_AT, b"\x01")),
        Members("admission with a changed time of joining", inside(85 + 7, b"\x01")),
        Members("admission with another invite", inside(60, b"\x01")),
        Members("admission with a changed signature", inside(-20, b"\x01")),
        Members("admission cut by a byte", lambda c: {**c, "admission": b64(unb64(c["admission"])[:-1])}),
        Members("a byte behind the admission", lambda c: {**c, "admission": b64(unb64(c["admission"]) + b"\0")}),
        Members("admission for another network", lambda c: {**c, "admission": b64(
            unb64(c["admission"])[:1] + sigclient.Network(w.mara).id + unb64(c["admission"])[21:])}),
        Members("a key that is not the admission's", lambda c: {**c, "key": w.carl.key}),
        Members("address outside the subnet", put(ip="192.0.2.9")),
        Members("address in 127/8", put(ip="127.0.0.1")),
        Members("address 0.0.0.0", put(ip="0.0.0.0")),
        Members("address in 224/4", put(ip="224.0.0.1")),
        Members("the address of a third member", put(ip=w.carl.ip), None, newcomer_sees=True),
        Members("the receiver's own address", lambda c: {**c, "ip": w.bert.ip if c["key"] == w.anna.key else w.anna.ip}, None),
        Members("another session", put(session="00000000deadbeef"), UP),
        Members("another IPv6 address", put(ipv6="fd00::1"), UP),
        Members("offline", put(online=False), None),
    ]


class Own(Variant):
    """Changes what a client is told about itself and the network."""

    def __init__(self, name, holds=WITHHELD, **fields):
        super().__init__("own address and network", name, holds)
        self.fields = fields

    def to_client(self, middle, line, m):
        if m["type"] == "NetworkConnected" and m["payload"]["network_id"] == WORLD.net and line.key == WORLD.bert.key:
            self.hits += 1
            return {**m, "payload": {**m["payload"], **self.fields}}
        return m


def own():
    w = WORLD
    first, last = re.sub(r"\d+$", "0", w.free), re.sub(r"\d+$", "255", w.free)
    return [
        Own("another free address", computer_ip=w.free),
        Own("the address of another member", computer_ip=w.carl.ip),
        Own("the owner's address", computer_ip=w.anna.ip),
        Own("an address outside the subnet", computer_ip="192.0.2.9"),
        Own("127.0.0.1", computer_ip="127.0.0.1"),
        Own("0.0.0.0", computer_ip="0.0.0.0"),
        Own("224.0.0.1", computer_ip="224.0.0.1"),
        Own("255.255.255.255", computer_ip="255.255.255.255"),
        Own("the subnet's first address", computer_ip=first),
        Own("the subnet's last address", computer_ip=last),
        Own("prefix length 0", UP, prefix_length=0),
        Own("the default route as subnet", UP, subnet="0.0.0.0/0"),
        Own("another subnet", UP, subnet="192.0.2.0/24"),
        Own("another IPv6 address", UP, ipv6="::1"),
        Own("another name of the network", UP, network_name="\"; rm -rf / #"),
        Own("another code", UP, code="aaaaaaaaaa"),
        Own("no members", None, computers=[]),
    ]


# ---- documents ----

class Documents(Variant):
    """Another document in the place of the owner's: in bert's answer, and as a notice to all three."""

    def __init__(self, name, fn, holds=UP):
        super().__init__("documents", name, holds)
        self.fn = fn

    def to_client(self, middle, line, m):
        w, p = WORLD, m["payload"]
        if m["type"] == "NetworkConnected" and p["network_id"] == w.net and line.key == w.bert.key:
            self.hits += 1
            document = self.fn()
            for one in (w.anna, w.bert, w.carl):
                w.line(one).say({"type": "DocumentUpdated", "payload": {"network_id": w.net, "document": b64(document)}})
            return {**m, "payload": {**p, "document": b64(document)}}
        return m


def owners(**changes):
    """What the owner herself would sign next, with other fields; the tests know her key."""
    def fn():
        network = Network.of(WORLD.document, WORLD.anna_key)
        for name, value in changes.items():
            setattr(network, name, value)
        return network.sign()
    return fn


def resigned(content, key):
    return content + key.sign(signature_input("goVPN/1 document", content))


def documents():
    w = WORLD
    body = w.document[:-64]

    def forked():
        network = Network.of(w.document, w.anna_key)
        network.epoch -= 1
        network.name = "fork"
        return network.sign()

    def strange(spoil):
        network = Network.of(w.document, w.anna_key)
        network.sign()
        return lambda: resigned(spoil(network.document[:-64]), w.anna_key)

    twins = struct_keys(sorted([Key().public, Key().public], reverse=True))
    return [
        Documents("an older one", lambda: w.old_document),
        Documents("another one of the same epoch, signed by the owner", forked),
        Documents("a newer one, signed by a member", lambda: resigned(hostile.resized(body, epoch=w.epoch + 1), w.bert_key), None),
        Documents("a newer one, not signed anew", lambda: hostile.resized(w.document, epoch=w.epoch + 1), None),
        Documents("a newer one of another owner", lambda: resigned(
            hostile.resized(body, owner=w.mara.public, epoch=w.epoch + 1), w.mara), None),
        Documents("one of another network of the owner", lambda: w.other_document, None),
        Documents("another salt", lambda: resigned(hostile.resized(body, salt=bytes(16)), w.anna_key), None),
        Documents("a later version of the format", strange(lambda b: hostile.resized(b, version=2)), None),
        Documents("a bit changed in the members", lambda: w.document[:-70] + bytes([w.document[-70] ^ 1]) + w.document[-69:], None),
        Documents("its last byte cut", lambda: w.document[:-1], None),
        Documents("a byte behind the signature", lambda: w.document + b"\0", None),
        Documents("signature with S + L", lambda: w.document[:-64] + unb64(malleable(b64(w.document[-64:]))), None),
        Documents("another subnet, signed by the owner", owners(subnet=("192.168.77.0", 24))),
        Documents("a subnet of the Internet, signed by the owner", owners(subnet=("8.8.8.0", 24)), None),
        Documents("keys not sorted, signed by the owner", strange(lambda b: b[:-4] + twins + b[-2:]), None),
        Documents("a name with a line break, signed by the owner", owners(name="a\nb"), None),
        Documents("epoch 2^53, signed by the owner", owners(epoch=2**53 - 1), None),
    ]


def struct_keys(keys):
    return len(keys).to_bytes(2, "big") + b"".join(keys)


# ---- single messages ----

class Said(Variant):
    """Messages that come of nothing: fn() gives [(to whom, message)]. The living path must not notice."""

    def __init__(self, name, fn, group="false notices", holds=IGNORED):
        super().__init__(group, name, holds, 0)
        self.fn = fn

    def tell(self):
        for to, m in self.fn():
            WORLD.line(to).say(m)


def notice(kind, **payload):
    return {"type": kind, "payload": {"network_id": WORLD.net, **payload}}


def to_both(make):
    """The same about each other, to the two ends of the living path."""
    w = WORLD
    return lambda: [(w.anna, make(w.carl)), (w.carl, make(w.anna))]


def notices():
    w = WORLD
    leave = {"session": "00000000000000aa", "unix_s": 1800000000}

    def signed_by_another(c):
        signed = signature_input("goVPN/1 leave", w.id, unb64(c.key), int(leave["session"], 16), leave["unix_s"])
        return notice("ComputerLeft", key=c.key, **leave, signature=b64(w.mara.sign(signed)))

    def computer(c, **more):
        return notice("ComputerConnected", computer={**w.members[c.key], **more})

    return [
        Said("ComputerLeft without a signature", to_both(lambda c: notice("ComputerLeft", key=c.key))),
        Said("ComputerLeft, signature of zeroes", to_both(lambda c: notice("ComputerLeft", key=c.key, **leave, signature=b64(bytes(64))))),
        Said("ComputerLeft, signed by another member", to_both(signed_by_another)),
        Said("ComputerDisconnected", to_both(lambda c: notice("ComputerDisconnected", key=c.key))),
        Said("ComputerConnected with another session", to_both(lambda c: computer(c, session="00000000deadbeef"))),
        Said("ComputerConnected with another address", to_both(lambda c: computer(c, ip=w.free))),
        Said("ComputerConnected with another address and session", to_both(
            lambda c: computer(c, ip=w.free, session="00000000deadbee0"))),
        Said("ComputerRenamed with another member's admission", to_both(
            lambda c: notice("ComputerRenamed", key=c.key, admission=w.members[w.bert.key]["admission"]))),
        Said("ComputerRenamed with a changed name", to_both(lambda c: notice(
            "ComputerRenamed", key=c.key, admission=inside(NAME_AT + 1, b"\x01")(w.members[c.key])["admission"]))),
        Said("ServerShutdown at once, and in a day", lambda: [(c, {"type": "ServerShutdown", "payload": {"in_seconds": s}})
                                                             for c in (w.anna, w.carl) for s in (0, 86400)]),
        Said("Error of every code", lambda: [(c, {"type": "Error", "payload": {"code": code, "message": "x", "retry_after_s": 86400}})
                                             for c in (w.anna, w.carl) for code in ("shutting_down", "banned", "not_member", "what")]),
        Said("replies that nobody asked for", lambda: [(c, {"message_id": "999999", "type": kind, "payload": {"network_id": w.net}})
                                                       for c in (w.anna, w.carl) for kind in ("NetworkLeft", "NetworkDisconnected")]),
        Said("a second Challenge and Authenticated", lambda: [(c, m) for c in (w.anna, w.carl) for m in (
            hostile.challenge(), {"type": "Authenticated", "payload": {"version": 1, "ice_servers": []}})]),
        Said("candidates that lead to the server, and the end of candidates", lambda: [
            (c, notice("IceCandidate", target_id=c.key, sender_id=d.key, nonce=w.archived("SdpOffer", w.anna, w.carl)["nonce"],
                       mid="0", ufrag="x", **more)) for c, d in ((w.anna, w.carl), (w.carl, w.anna)) for more in (
                {"candidate": "candidate:1 1 udp 2130706431 203.0.113.10 9 typ host"},
                {"candidate": "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"},
                {"candidate": f"candidate:1 1 udp 2130706431 {w.bert.ip} 9 typ host"}, {"end_of_candidates": True})]),
        # The last ones: the computer hears nothing more of this network until it asks again.
        Said("Kicked without a document", lambda: [(c, notice("Kicked", reason="bye")) for c in (w.anna, w.carl)]),
        Said("Kicked with the present document", lambda: [(c, notice("Kicked", document=b64(w.document))) for c in (w.anna, w.carl)]),
        Said("Kicked with a document of nobody", lambda: [(c, notice("Kicked", document=flip(b64(w.document), 60)))
                                                         for c in (w.anna, w.carl)]),
        Said("NetworkDeleted", lambda: [(c, notice("NetworkDeleted", reason="gone")) for c in (w.anna, w.carl)]),
    ]


class Stranger(Said):
    """Somebody who is no member is announced to anna, and offers. Nobody answers and nobody lists the key."""

    def __init__(self, name, make):
        super().__init__(name, None, "members that nobody admitted", "refused: not listed, no answer")
        self.make = make

    def tell(self):
        w = WORLD
        key, data = self.make()
        public = key.public if isinstance(key, Key) else key
        self.key = b64(public)
        computer = {"key": self.key, "online": True, "session": w.mara_session, "ip": w.free2, "ipv6": "fd00::1",
                    "admission": b64(data)}
        text = w.archived("SdpOffer", w.anna, w.carl)["sdp"]
        if isinstance(key, Key):
            offer = described(key, w.id, w.anna.key, "SdpOffer", text, w.free2, w.mara_session)
        else:
            offer = notice("SdpOffer", target_id=w.anna.key, sender_id=self.key, session=w.mara_session, nonce=b64(os.urandom(16)),
                           address=w.free2, sdp=text, signature=b64(FITS_ALL))
        for kind in ("ComputerJoined", "ComputerConnected"):
            w.line(w.anna).say(notice(kind, computer=computer))
        w.line(w.anna).say(offer)

    def to_server(self, middle, line, m):
        self.answers += m["payload"].get("target_id") == self.key
        return m


def strangers():
    w = WORLD

    def by(invite, **more):
        def make():
            key = Key()
            return key, admission(w.id, key, "stranger", invite, **more)
        return make

    def of_another():
        """bert's admission by his invite, with another key and its own signature."""
        key, data = Key(), bytearray(unb64(w.members[w.bert.key]["admission"]))
        data[21:53] = key.public
        return key, bytes(data[:-64]) + key.sign(signature_input("goVPN/1 admission", bytes(data[:-64])))

    def banned():
        return w.banned, admission(w.id, w.banned, "banned", w.invite)

    def weak(public):
        """By a live invite: everything but the key is right."""
        when = struct.pack(">Q", int(time.time()))
        by = w.invite.sign(signature_input("goVPN/1 invite", w.id, public, when))
        return lambda: (public, bytes([1]) + w.id + public + w.invite.public + when + by + b"\1w\1w" + when + FITS_ALL)

    return [
        Stranger("without an invite", by(None)),
        Stranger("by an invite of nobody", by(Key())),
        Stranger("by an invite that was withdrawn", by(w.withdrawn)),
        Stranger("by an invite that had ended", by(w.ended, when=int(time.time()) + 7200)),
        Stranger("by an invite of another network of the owner", by(w.other_invite)),
        Stranger("by the invite's signature for another key", of_another),
        Stranger("a banned key with a live invite", banned),
        Stranger("a key of small order", weak(SMALL_ORDER)),
        Stranger("a key that is not canonical", weak(NOT_CANONICAL)),
    ]


# ---- floods ----

def floods(count):
    w = WORLD
    offer = w.archived("SdpOffer", w.anna, w.carl)

    def many(make):
        def fn():
            blob = b"".join(sigclient.frame(1, json.dumps(make(i)).encode()) for i in range(min(count, 1000)))
            return [(c, blob) for _ in range(max(count // 1000, 1)) for c in (w.anna, w.carl)]
        return fn

    return [Flood(f"{count} of {name}", many(make)) for name, make in (
        ("unknown type", lambda i: {"type": f"No{i}", "payload": {}}),
        ("candidates", lambda i: notice("IceCandidate", target_id=w.anna.key, sender_id=w.carl.key, nonce=offer["nonce"], mid="0",
                                        ufrag="x", candidate=f"candidate:{i} 1 udp 9 198.51.{i // 250}.{i % 250 + 1} 9 typ host")),
        ("offers with a false signature", lambda i: notice("SdpOffer", **{
            **offer, "sender_id": w.carl.key, "target_id": w.anna.key, "nonce": b64(os.urandom(16))})),
        ("ComputerConnected with ever new sessions", lambda i: notice("ComputerConnected", computer={
            **w.members[w.bert.key], "session": f"{i + 1:016x}"})),
        ("documents with a false signature", lambda i: notice("DocumentUpdated", document=flip(b64(w.document), 60))),
    )]


class Flood(Said):
    def __init__(self, name, fn):
        super().__init__(name, fn, "floods", "living path goes on")

    def tell(self):
        threads = {}
        for to, blob in self.fn():
            threads.setdefault(to, []).append(blob)
        for c in threads:
            WORLD.lab.wait(lambda c=c: c.key in WORLD.middle.lines, 60, f"{c.name} is connected")

        def pour(to, blobs):
            try:
                for blob in blobs:
                    WORLD.line(to).raw(blob)
            except (OSError, KeyError):
                pass  # it hung up: its ping was not answered in time
        running = [threading.Thread(target=pour, args=one) for one in threads.items()]
        for t in running:
            t.start()
        for t in running:
            t.join()
        for c in threads:  # all is read: a question of ours comes back
            WORLD.lab.wait(lambda c=c: c.run("status").code == 0, 60, f"{c.name} answers after a flood")


# ---- the run ----

class Bed:
    """The computers, and what is looked at during each variant."""

    def __init__(self, lab):
        self.lab, self.wrong, self.rows, self.lost = lab, [], [], []
        url = f"http://{SERVER_IPV4}:{PORT}"
        self.server = Server(lab, port=REAL_PORT, tls="off", options=("--public-url", url)).start()
        w = WORLD
        w.lab = lab
        w.middle = Middle(lab.server, SERVER_IPV4, PORT, (SERVER_IPV4, REAL_PORT))
        self.computers = [Computer(lab, lab.home("open"), name=name).start() for name in ("anna", "bert", "carl")]
        w.anna, w.bert, w.carl = self.computers
        front = Server(lab, tls="off")
        front.url = url
        self.make_networks(front)
        for c in self.computers:
            status = c.network(w.net)
            c.key, c.ip, c.ip6 = status["self"]["id"], status["ipv4"].split("/")[0], status["ipv6"].split("/")[0]
        w.line = lambda c: w.middle.lines[c.key]
        w.free, w.free2 = (re.sub(r"\d+$", last, w.anna.ip) for last in ("77", "88"))
        self.collect()

    def make_networks(self, front):
        w = WORLD
        anna, bert, carl = self.computers
        made = anna.create("party", front)
        other = anna.create("other", front)
        w.net, w.other, w.id = made["id"], other["id"], sigclient.base64.b32decode(made["id"].upper())
        for link in (made["invite"], other["invite"]):
            bert.ok("join", "--insecure", link)
        carl.ok("join", "--insecure", made["invite"])
        w.withdrawn = seed_of(made["invite"])
        w.other_invite = seed_of(other["invite"])
        wait_mesh(self.lab, [anna, bert, carl], net_id=w.net)
        wait_mesh(self.lab, [anna, bert], net_id=w.other)
        w.old_document = self.document(anna, w.net)
        # One comes and is kicked: the invites are withdrawn, a key is banned, and new invites are made.
        self.guest(made["invite"])
        anna.ok("kick", w.net, "dora")
        w.ended = seed_of(anna.ok("invite", w.net, "--expires", "1h").json()["invite"])
        w.invite = seed_of(anna.ok("invite", w.net).json()["invite"])

    def guest(self, link):
        """dora joins: not a computer, only a key that is banned soon."""
        w = WORLD
        w.banned = Key()
        with self.server.node:
            client = sigclient.Client(self.server.url, w.banned)
        client.login(f"{SERVER_IPV4}:{PORT}")
        client.request("JoinNetwork", network_id=w.net, admission=b64(admission(w.id, w.banned, "dora", seed_of(link))))
        self.lab.wait(lambda: any(c["name"] == "dora" for c in w.anna.network(w.net)["computers"]), 5, "dora is a member")
        client.close()

    @staticmethod
    def document(computer, net):
        with open(f"{computer.state}/networks.json", encoding="utf-8") as f:
            return unb64(next(n["document"] for n in json.load(f)["networks"] if n["id"] == net))

    def collect(self):
        """The pieces that lies are made of; two sessions of descriptions are in the archive."""
        w = WORLD
        for c in self.computers[:2]:
            c.stop()
            c.start()
        wait_mesh(self.lab, self.computers, net_id=w.net)
        w.document, w.other_document = (self.document(w.anna, n) for n in (w.net, w.other))
        w.epoch = Network.of(w.document, None).epoch
        w.anna_key, w.bert_key = (self.identity(c) for c in (w.anna, w.bert))
        w.mara, w.mara_session = Key(), "00000000000000ee"
        w.member_mara = lambda: {"key": b64(w.mara.public), "online": True, "session": w.mara_session, "ip": w.free,
                                 "ipv6": "fd00::1", "admission": b64(admission(w.id, w.mara, "mara", w.invite))}
        w.members = {}
        w.middle.tamper = Learn()
        self.reconnect()
        self.lab.wait(lambda: len(w.members) == 3, 5, "the members are known")
        w.carl_admission = w.members[w.carl.key]["admission"]
        self.lab.wait(lambda: w.bert.reaches(w.anna.ip), 10, "bert is back")
        w.offers = [w.archived("SdpOffer", w.anna, w.bert)]
        w.answers = [w.archived("SdpAnswer", w.bert, w.anna)]

        def back(p, messages):
            for m in messages:
                w.line(w.anna).say(m)
        w.back = back

    @staticmethod
    def identity(computer):
        with open(f"{computer.state}/identity.key", encoding="ascii") as f:
            return Key(unb64(f.read().split()[1]))

    def reconnect(self):
        """bert leaves and comes; does not wait for the end of the coming."""
        w = WORLD
        w.bert.ok("down", w.net)
        before = self.marks()
        subprocess.Popen(w.bert.node.wrap([program("govpn"), "--socket", w.bert.socket, "up", w.net]),
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return before

    def watch(self):
        """From now on inner packets are sent and counted."""
        w = WORLD
        self.arrivals = {c: Arrivals(c.node) for c in self.computers}
        self.living = Sender(w.anna.node, w.carl.ip)
        self.senders = [Sender(a.node, ip) for a, ip in ((w.anna, w.bert.ip), (w.bert, w.anna.ip), (w.anna, w.free), (w.bert, w.free))]
        self.addresses = {c: {a for l in c.interfaces().values() for a in l} for c in self.computers}
        self.routes = {c: self.routes_of(c) for c in self.computers}
        self.names = {c: self.names_of(c) for c in self.computers}
        self.files = {c: self.facts_of(c) for c in self.computers}
        self.rss = {c: rss_kb(c.process.pid) for c in self.computers}

    def marks(self):
        """How many inner packets of a doubtful kind there are by now."""
        w = WORLD
        if not hasattr(self, "arrivals"):
            return 0
        # carl's to anna are those of the living path: that ports are closed.
        return (self.arrivals[w.anna].of(w.bert.ip, w.bert.ip6, w.free) +
                self.arrivals[w.bert].of(w.anna.ip, w.anna.ip6, w.free, w.carl.ip))

    @staticmethod
    def routes_of(c):
        lines = c.node.run("ip", "route", "show", "table", "all").stdout.splitlines()
        return {re.sub(r" dev govpn\d+", " dev govpn", line).strip() for line in lines}

    @staticmethod
    def names_of(c):
        """What it believes; mara is a member indeed, but never there."""
        net, mara = c.network(WORLD.net), b64(WORLD.mara.public)
        check(not any(p["id"] == mara and p["state"] == "connected" for p in net["computers"]), f"{c.name} has a path to mara")
        return net["name"], net["code"], net["epoch"], {(p["id"], p["name"], p["label"], p["ipv4"], p["ipv6"])
                                                       for p in net["computers"] if p["id"] != mara}

    @staticmethod
    def facts_of(c):
        """What is on the disk, but for what people switch on and off."""
        with open(f"{c.state}/networks.json", encoding="utf-8") as f:
            networks = json.load(f)["networks"]
        for n in networks:
            del n["up"]
        files = {}
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            if os.path.exists(path):
                with open(path, "rb") as f:
                    files[path] = f.read()
        return sorted(networks, key=lambda n: n["id"]), sorted(os.listdir(c.state)), files

    def changed(self, v):
        """What changed on the computers by the server's word."""
        found = []
        for c in self.computers:
            if c.process.poll() is not None:
                return [f"{c.name} ended with {c.process.returncode}"]
            more = {a for l in c.interfaces().values() for a in l} - self.addresses[c]
            if more:
                found.append(f"addresses of {c.name}: {more}")
            now, was = self.names_of(c), self.names[c]
            if c is WORLD.bert and v.newcomer_sees:
                continue
            if now[:3] != was[:3] or not now[3] <= was[3]:
                found.append(f"{c.name} believes {now[:3]} {now[3] - was[3]}")
        return found

    def pair(self, v):
        """A variant for which the pair is made anew."""
        w = WORLD
        w.middle.tamper = v
        before = self.reconnect()
        if v.holds == UP:
            self.lab.wait(lambda: self.marks() > before, 10, f"{v.group}: {v.name}: the path comes up")
            return
        self.lab.wait(lambda: v.hits >= v.want, 8, f"{v.group}: {v.name}: the lie is told")
        time.sleep(SETTLE_S)
        if v.holds is None:
            v.holds = UP if self.marks() > before else WITHHELD
        elif self.marks() != before:
            self.wrong.append(f"{v.group}: {v.name}: {self.marks() - before} inner packets passed")
        elif v.answers and v.holds == REFUSED:
            self.wrong.append(f"{v.group}: {v.name}: {v.answers} answers to an offer that proves nothing")

    def say(self, v):
        w = WORLD
        w.middle.tamper = v
        v.tell()
        time.sleep(0.1)
        if isinstance(v, Stranger) and v.answers:
            self.wrong.append(f"{v.group}: {v.name}: {v.answers} answers")

    def run(self, v):
        w = WORLD
        alive = self.arrivals[w.carl].of(w.anna.ip)
        (self.say if isinstance(v, Said) else self.pair)(v)
        self.wrong += [f"{v.group}: {v.name}: {text}" for text in self.changed(v)]
        lost = self.living.sent - len(self.arrivals[w.carl].numbers.get(w.anna.ip, ()))
        self.lost.append((lost - sum(n for n, _ in self.lost), v.name))
        if self.arrivals[w.carl].of(w.anna.ip) <= alive:
            self.wrong.append(f"{v.group}: {v.name}: the living path is dead")
        self.rows.append((v.group, v.name, v.holds))

    def heal(self):
        """Some were told that the network is gone, and would wait a minute: their connections break."""
        w = WORLD
        w.middle.tamper = Tamper()
        for c in (w.anna, w.carl):
            line = w.middle.lines.get(c.key)
            if line:
                line.close()
                self.lab.wait(lambda c=c, line=line: w.middle.lines.get(c.key) is not line, 10, f"{c.name} has lost the server")
        for c in (w.anna, w.carl):
            self.lab.wait(lambda c=c: c.network(w.net)["server"]["connected"], 60, f"{c.name} is connected again")

    def end(self):
        """Without lies all is as before."""
        w = WORLD
        self.reconnect()
        self.lab.wait(lambda: w.bert.reaches(w.anna.ip) and w.bert.reaches(w.carl.ip), 20, "the pair is back after all variants")
        for s in [*self.senders, self.living]:
            s.stop()
        time.sleep(0.2)
        lost = self.living.sent - len(self.arrivals[w.carl].numbers[w.anna.ip])
        check(lost <= LOST_AT_MOST + self.living.sent // 200, f"the living path lost {lost} of {self.living.sent}: {sorted(self.lost)[-5:]}")
        for c in self.computers:
            if self.facts_of(c) != self.files[c]:
                self.wrong.append(f"files of {c.name}: {self.files[c]} -> {self.facts_of(c)}")
            if self.routes_of(c) != self.routes[c]:
                self.wrong.append(f"routes of {c.name}: {self.routes_of(c) ^ self.routes[c]}")
        grown = max(rss_kb(c.process.pid) - self.rss[c] for c in self.computers)
        check(grown <= 5 * 1024, f"resident memory grew by {grown} kB")
        return lost, grown


def lure(bed):
    """The server knows the ICE passwords: it can draw a living path to itself. What it gets is sealed, and the path is
    back when it lets go. Not part of the others: this one does interrupt."""
    w = WORLD
    pairs = [(m["payload"], key) for key, m in w.middle.archive if m["type"] == "SdpAnswer" and m["payload"]["network_id"] == w.net and
             {key, m["payload"]["target_id"]} == {w.anna.key, w.carl.key}]
    answer, controlled = pairs[-1]
    offer = next(m["payload"] for _, m in w.middle.archive if m["type"] == "SdpOffer" and m["payload"]["nonce"] == answer["offer_nonce"])
    prey, other = (w.anna, w.carl) if controlled == w.anna.key else (w.carl, w.anna)
    host, _, port = prey.path(other.ip, w.net)["local"].rpartition(":")
    trap = hostile.Lure(bed.server.node, offer, answer, (host.strip("[]"), int(port)))
    flow = Sender(prey.node, other.ip)
    bed.lab.wait(lambda: trap.asked, 10, "the lure is believed for a moment")
    time.sleep(3)
    held = trap.drawn
    trap.stop()
    since = time.monotonic()
    bed.lab.wait(lambda: prey.reaches(other.ip) and other.reaches(prey.ip), 60, "the path is back after the lure")
    back = time.monotonic() - since
    flow.stop()
    check(all(d[:3] == b"\x17\xfe\xfd" for d in held), "something else than sealed records went to the server")
    bed.rows.append(("ICE", "path drawn to the server by the ICE passwords it has seen",
                     "while it lasts the server gets this direction's sealed records; back when it lets go"))
    return f"{len(held)} sealed records drawn, back after {back:.1f} s"


class Learn(Tamper):
    """Notes how the server describes the members."""

    def to_client(self, middle, line, m):
        if m["type"] == "NetworkConnected" and m["payload"]["network_id"] == WORLD.net:
            WORLD.members.update({c["key"]: c for c in m["payload"]["computers"]})
        return m


def seed_of(link):
    return Key(unb64(link.partition("#")[2].split(".")[1]))


def scenario(lab):
    bed = Bed(lab)
    variants = [*changed_descriptions(), *replayed_descriptions(), Swapped(), UnknownKeyShare(), *members(), *own(), *documents(),
                *strangers(), *notices()]
    if not lab.long and not os.environ.get("GOVPN_WRITE_DOCS"):
        variants = spread(variants)
    bed.watch()
    for left in range(3 if lab.long else 1, 0, -1):
        bed.rows = []
        for v in variants + (floods(100000 if lab.long else 2000) if left == 1 else []):
            v.hits = v.answers = 0
            bed.run(v)
        bed.heal()
    check(not bed.wrong, f"{len(bed.wrong)} things:\n" + "\n".join(bed.wrong))
    lost, grown = bed.end()
    check(not bed.wrong, f"{len(bed.wrong)} things:\n" + "\n".join(bed.wrong))
    drawn = lure(bed)
    if os.environ.get("GOVPN_WRITE_DOCS"):
        write_table("hostile server", HEAD, compact((g, re.sub(", (offer|answer)$", "", n) if g == "descriptions" else n, h)
                                                    for g, n, h in bed.rows))
    return f"{len(bed.rows)} variants, living path lost {lost} of {bed.living.sent}, memory +{max(grown, 0)} kB; {drawn}"


def spread(variants):
    """About two thirds: of each changed description the offer or the answer, of other long lists every second one."""
    picked = []
    for i, v in enumerate(variants):
        thin = v.group in ("members", "own address and network", "documents")
        if (v.group != "descriptions" or (i // 2 + i) % 2 == 0) and (not thin or i % 2 == 0):
            picked.append(v)
    return picked
