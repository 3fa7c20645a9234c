# SPDX-License-Identifier: MIT
"""IP packets made by hand, right or wrong in any field."""

import ipaddress
import struct

UDP, ICMP, TCP, ICMPV6, FRAGMENT = 17, 1, 6, 58, 44


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pack(address):
    return ipaddress.ip_address(address).packed


def ip4(source, target, payload, proto=UDP, ihl=None, length=None, frag=0x4000, options=b"", ident=1, ttl=64):
    """frag: flags and offset, as on the wire (0x4000 is DF, 0x2000 more fragments)."""
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | (size // 4 if ihl is None else ihl), 0,
                       size + len(payload) if length is None else length, ident, frag, ttl, proto, 0,
                       pack(source), pack(target)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(source, target, payload, next_header=UDP, length=None):
    return struct.pack("!IHBB16s16s", 0x60000000, len(payload) if length is None else length, next_header, 64,
                       pack(source), pack(target)) + payload


def udp(source, target, data, sport=4000, dport=4001):
    """A UDP datagram with its checksum, for either family."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    pseudo = pack(source) + pack(target)
    pseudo += struct.pack("!BBH", 0, UDP, 8 + len(data)) if len(pseudo) == 8 else struct.pack("!II", 8 + len(data), UDP)
    return head[:6] + struct.pack("!H", checksum(pseudo + head + data) or 0xFFFF) + data


def datagram(source, target, data, **ports):
    """A whole UDP packet of the family of its addresses."""
    make = ip6 if ":" in target else ip4
    return make(source, target, udp(source, target, data, **ports))
