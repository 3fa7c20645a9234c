# SPDX-License-Identifier: MIT
"""Generated candidates, STUN messages and descriptions: do other stacks understand the same as ours?

A case is a line {"kind":..., "sound":..., "text":..., "key":...}. Each parser program (rtc_parse, pion_parse,
chromium_parse) answers each with {"ok":...} and the meaning. It is a difference

    of a sound case       when the two do not both take it, or mean something else by it
    of a damaged case     when both take it and mean something else, or we alone take it

That we refuse a damaged case which the other takes is no difference, but is counted.
"""

import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import json
import random
import re
import struct
import subprocess
import zlib

KEY = "interop password of 24 ch"
FINGERPRINT = ":".join(f"{i * 7 % 256:02X}" for i in range(32))


# ---- candidates ----

def an_address(r):
    return r.choice(("192.0.2.7", "10.0.0.1", "255.255.255.255", "2001:db8::1", "fe80::1", "2001:DB8:0:0:1:0:0:1",
                     "2001:db8::192.0.2.1", "fd00::", str(ipaddress.ip_address(r.getrandbits(32))),
                     str(ipaddress.ip_address(r.getrandbits(128)))))


def candidate(r, damaged=0.35):
    words = ["candidate:" + r.choice(("1", "842163049", "abc+/XYZ", "0123456789abcdef" * 2)),
             r.choice(("1", "1", "1", "1", "2", "256")), r.choice(("udp", "udp", "UDP", "Udp", "tcp", "TCP")),
             str(r.choice((1, 2130706431, 1694498815, 2147483647, r.randrange(1, 1 << 31)))), an_address(r),
             str(r.choice((1, 9, 1024, 65535, r.randrange(1, 65536)))), "typ",
             r.choice(("host", "srflx", "prflx", "relay"))]
    if words[2].lower() == "tcp":
        words[7:] = ["host", "tcptype", r.choice(("active", "passive", "so"))]
    elif words[7] != "host":
        words += ["raddr", r.choice((an_address(r), "0.0.0.0", "::")), "rport", str(r.choice((0, 9, 65535)))]
    for more in (["generation", "0"], ["ufrag", "abcd"], ["network-id", "1"], ["network-cost", "999"], ["x-y", "z"]):
        if r.random() < 0.3:
            words += more
    sound = r.random() >= damaged
    if not sound:
        spoil(r, words)
    return {"kind": "candidate", "sound": sound, "text": " ".join(words)}


def spoil(r, words):
    """One thing that makes a candidate line wrong."""
    at, what = r.choice(((1, ""), (1, "x"), (3, "-1"), (3, "0"), (3, "2147483648"), (3, "4294967296"), (3, "x"), (4, "300.1.1.1"), (4, "1.2.3"),
                         (4, "1:2"), (4, "::1::"), (5, "65536"), (5, "-1"), (5, "x"), (6, "type"), (7, "hst"),
                         (4, "0b0e1c4e-9c5c-4e6b-a1a5-000000000000.local"), (8, None), (7, None), (5, None)))
    if what is None:
        del words[at:]
    else:
        words[at] = what


# ---- STUN ----

def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def mapped(r, message_id, xor):
    ip = ipaddress.ip_address(r.getrandbits(r.choice((32, 128)))).packed
    port = r.randrange(1, 65536)
    if xor:
        mask = struct.pack("!I", 0x2112A442) + message_id
        ip, port = bytes(a ^ b for a, b in zip(ip, mask)), port ^ 0x2112
    return struct.pack("!BBH", 0, 1 if len(ip) == 4 else 2, port) + ip


def message(kind, message_id, body, length=None):
    return struct.pack("!HHI", kind, len(body) if length is None else length, 0x2112A442) + message_id + body


def stun(r):
    message_id = r.randbytes(12)
    kind = r.choice((0x0001, 0x0001, 0x0101, 0x0111, 0x0011, 0x0003, 0x0104))
    body = b""
    for made in (lambda: attribute(6, r.randbytes(r.randrange(1, 60))), lambda: attribute(0x24, r.randbytes(4)),
                 lambda: attribute(0x25, b""), lambda: attribute(r.choice((0x8029, 0x802A)), r.randbytes(8)),
                 lambda: attribute(0x20, mapped(r, message_id, True)), lambda: attribute(1, mapped(r, message_id, False)),
                 lambda: attribute(9, struct.pack("!HBB", 0, r.randrange(3, 7), r.randrange(100)) + b"reason"),
                 lambda: attribute(0x8022, b"software"), lambda: attribute(0xC057, r.randbytes(4))):
        if r.random() < 0.4:
            body += made()
    if r.random() < 0.7:
        key = (KEY if r.random() < 0.8 else "wrong").encode()
        covered = message(kind, message_id, body, len(body) + 24)
        body += attribute(8, hmac.new(key, covered, hashlib.sha1).digest())
    if r.random() < 0.7:
        crc = zlib.crc32(message(kind, message_id, body, len(body) + 8)) ^ 0x5354554E
        body += attribute(0x8028, struct.pack("!I", crc))
    data = bytearray(message(kind, message_id, body))
    sound = r.random() >= 0.4
    if not sound:
        damage(r, data)
    return {"kind": "stun", "sound": sound, "text": binascii.hexlify(data).decode(), "key": KEY}


def damage(r, data):
    how = r.randrange(4)
    if how == 0:
        del data[r.randrange(len(data)):]
    elif how == 1:
        data += r.randbytes(r.randrange(1, 9))
    else:
        at = r.randrange(len(data))
        data[at] ^= 1 << r.randrange(8)


# ---- descriptions ----

def sdp(r):
    credentials = [f"a=ice-ufrag:{r.choice(('abcd', 'A+/z' * 8, 'x' * 256))}", f"a=ice-pwd:{'p' * r.choice((22, 24, 256))}"]
    fingerprint = [f"a=fingerprint:{r.choice(('sha-256', 'SHA-256'))} {FINGERPRINT}"]
    setup = [f"a=setup:{r.choice(('actpass', 'actpass', 'active', 'passive'))}"]
    media = ["c=IN IP4 0.0.0.0", "a=mid:" + r.choice(("0", "data", "application0"))]
    media += [f"a=sctp-port:{r.choice((5000, 1, 65535))}"]
    media += r.choice(([], [f"a=max-message-size:{r.choice((1, 65536, 262144, 1073741823, 2147483647))}"]))
    session = r.choice(([], ["a=ice-options:trickle"], ["a=extmap-allow-mixed"], ["a=msid-semantic: WMS"]))
    for part in (credentials, fingerprint, setup):
        (session if r.random() < 0.3 else media).extend(part)
    for _ in range(r.randrange(4)):
        media.append("a=" + plain_candidate(r))
    head, tail = media[0], media[1:]
    r.shuffle(tail)
    lines = ["v=0", f"o=- {r.getrandbits(62)} 2 IN IP4 127.0.0.1", "s=-", "t=0 0", *session,
             f"m=application {r.choice((9, 1, 65535))} UDP/DTLS/SCTP webrtc-datachannel", head, *tail]
    sound = r.random() >= 0.4
    if not sound:
        spoil_sdp(r, lines)
    return {"kind": "sdp", "sound": sound, "text": "\r\n".join(lines) + "\r\n"}


def plain_candidate(r):
    while True:
        text = candidate(r, damaged=0)["text"]
        if re.fullmatch(r"candidate:\S+ 1 udp \d+ [\d.]+ \d+ typ host( .*)?", text):
            return text


def spoil_sdp(r, lines):
    """One line goes away or gets a wrong value."""
    starts, change = r.choice(((("a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "m=", "v="), None),
                               (("a=ice-ufrag:",), "abc"), (("a=ice-ufrag:",), "a b c d"), (("a=ice-ufrag:",), "x" * 257),
                               (("a=ice-pwd:",), "p" * 21), (("a=ice-pwd:",), "p" * 257),
                               (("a=fingerprint:",), "sha-256 " + FINGERPRINT[:-3]),
                               (("a=fingerprint:",), "sha-256 " + FINGERPRINT.replace("07", "0G")),
                               (("a=fingerprint:",), "sha-256"), (("a=setup:",), "both"), (("a=sctp-port:",), "x"),
                               (("a=sctp-port:",), "65536"), (("a=max-message-size:",), "x")))
    found = [i for i, line in enumerate(lines) if line.startswith(starts)]
    if not found:
        return
    at = r.choice(found)
    if change is None:
        del lines[at]
    else:
        lines[at] = lines[at].split(":", 1)[0] + ":" + change


def cases(seed, count):
    r = random.Random(seed)
    return [(candidate, stun, sdp)[(0, 0, 1, 1, 2)[i % 5]](r) for i in range(count)]


# ---- comparing ----

def meaning_of_text(text):
    """Of a description that the browser wrote."""
    def value(name):
        found = re.search(rf"^a={name}:(.*?)\r?$", text, re.M)
        return found[1] if found else None

    return {"ufrag": value("ice-ufrag"), "pwd": value("ice-pwd"), "setup": value("setup"), "mid": value("mid"),
            "fingerprint": (value("fingerprint") or " ").split(" ")[1].replace(":", "").lower(),
            "sctp_port": int(value("sctp-port") or 5000), "max_message": int(value("max-message-size") or 65536)}


def canonical(m):
    m = {k: v for k, v in m.items() if k not in ("why", "text")}
    for key in ("address", "mapped"):
        host, _, port = (m.get(key) or "").rpartition(":")
        with contextlib.suppress(ValueError):
            m[key] = (ipaddress.ip_address(host.strip("[]")), int(port))
    return m


def run(command, all_cases):
    text = "".join(json.dumps(c) + "\n" for c in all_cases)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_same(ours, theirs):
    ours, theirs = dict(ours), dict(theirs)
    if "text" in theirs:
        theirs = {"ok": True, **meaning_of_text(theirs["text"])}
    x, y = canonical(ours), canonical(theirs)
    return all(x[k] == y[k] for k in x.keys() & y.keys())


def compare(ours, theirs, all_cases):
    """Returns (compared, cases that we alone refuse, [(case, our meaning, their meaning)])."""
    found, compared, stricter = [], 0, 0
    for case, a, b in zip(all_cases, ours, theirs, strict=True):
        if b is None:
            continue
        compared += 1
        if not case["sound"] and b["ok"] and not a["ok"]:
            stricter += 1
        elif not is_same(a, b):
            found.append((case, a, b))
    return compared, stricter, found
