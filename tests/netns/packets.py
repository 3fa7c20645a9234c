# SPDX-License-Identifier: MIT
"""IP packets made by hand, right or wrong in any field."""

import ipaddress
import struct

UDP, ICMP, TCP, ICMPV6, FRAGMENT, AUTH = 17, 1, 6, 58, 44, 51


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pack(address):
    return ipaddress.ip_address(address).packed


def ip4(source, target, payload, proto=UDP, ihl=None, length=None, frag=0x4000, options=b"", ident=1, ttl=64, tos=0):
    """frag: flags and offset, as on the wire (0x4000 is DF, 0x2000 more fragments)."""
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | (size // 4 if ihl is None else ihl), tos,
                       size + len(payload) if length is None else length, ident, frag, ttl, proto, 0,
                       pack(source), pack(target)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(source, target, payload, next_header=UDP, length=None, traffic_class=0, label=0, hops=64):
    return struct.pack("!IHBB16s16s", 6 << 28 | traffic_class << 20 | label, len(payload) if length is None else length,
                       next_header, hops,
                       pack(source), pack(target)) + payload


def udp(source, target, data, sport=4000, dport=4001):
    """A UDP datagram with its checksum, for either family."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    return head[:6] + struct.pack("!H", transport_checksum(source, target, UDP, head + data) or 0xFFFF) + data


def transport_checksum(source, target, proto, data):
    pseudo = pack(source) + pack(target)
    pseudo += struct.pack("!BBH", 0, proto, len(data)) if len(pseudo) == 8 else struct.pack("!II", len(data), proto)
    return checksum(pseudo + data)


def tcp(source, target, data, seq=0, ack=1, flags=0x10, window=500, options=b"", urgent=0, sport=4000, dport=4001):
    """A TCP segment with its checksum, for either family; options fill words."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack, (20 + len(options)) // 4 << 4, flags, window, 0, urgent)
    whole = head + options + data
    return whole[:16] + struct.pack("!H", transport_checksum(source, target, TCP, whole)) + whole[18:]


def datagram(source, target, data, **ports):
    """A whole UDP packet of the family of its addresses."""
    make = ip6 if ":" in target else ip4
    return make(source, target, udp(source, target, data, **ports))
