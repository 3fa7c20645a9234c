# SPDX-License-Identifier: MIT
"""Looks at packets on an interface of a node, as tcpdump would, without needing it."""

import select
import socket
import struct
import threading

SOL_PACKET, PACKET_VNET_HDR, PACKET_STATISTICS = 263, 15, 6
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
GSO_UDP_L4 = 5
VNET_HDR = 10
UDP = 17


class Udp:
    """One UDP datagram: source and destination (address, port), and the payload."""

    def __init__(self, source, target, payload):
        self.source, self.target, self.payload = source, target, payload

    def is_stun(self):
        return len(self.payload) >= 20 and self.payload[0] <= 3 and self.payload[4:8] == b"\x21\x12\xa4\x42"

    def is_dtls(self):
        return len(self.payload) >= 13 and 20 <= self.payload[0] <= 63


def parse_udp(frame, ethernet=True):
    """The UDP datagrams of one captured frame; a train that the kernel has not cut yet gives several."""
    _, gso_type, _, gso_size = struct.unpack_from("=BBHH", frame)
    frame = frame[VNET_HDR:]
    if ethernet:
        kind, ip = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    else:
        kind, ip = ETH_P_IP if frame[:1] and frame[0] >> 4 == 4 else ETH_P_IPV6, frame
    if kind == ETH_P_IP and len(ip) >= 28 and ip[9] == UDP:
        head, family, source, target = (ip[0] & 15) * 4, socket.AF_INET, ip[12:16], ip[16:20]
        if struct.unpack_from("!H", ip, 6)[0] & 0x1FFF:
            return []  # not the first fragment
    elif kind == ETH_P_IPV6 and len(ip) >= 48 and ip[6] == UDP:
        head, family, source, target = 40, socket.AF_INET6, ip[8:24], ip[24:40]
    else:
        return []
    source_port, target_port, length = struct.unpack_from("!HHH", ip, head)
    payload = ip[head + 8:head + max(length, 8)]
    step = gso_size if gso_type & 0x7F == GSO_UDP_L4 and gso_size else max(len(payload), 1)
    source = socket.inet_ntop(family, source), source_port
    target = socket.inet_ntop(family, target), target_port
    return [Udp(source, target, payload[i:i + step]) for i in range(0, max(len(payload), 1), step)]


class Capture:
    """Collects the frames of an interface until stop(). keep(frame) chooses which; all are counted."""

    def __init__(self, node, dev, keep=None, ethernet=True):
        self.frames, self.count, self.keep, self.ethernet = [], 0, keep or (lambda frame: True), ethernet
        with node:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            self.socket.bind((dev, ETH_P_ALL))
        self.going = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            going = self.going
            if not select.select([self.socket], [], [], 0.05 if going else 0)[0]:
                if not going:
                    return
                continue
            frame = self.socket.recv(VNET_HDR + 14 + 65535)
            self.count += 1
            if self.keep(frame):
                self.frames.append(frame)

    def stop(self):
        """Ends the capture; returns how many frames the kernel had to leave out."""
        self.going = False
        self.thread.join()
        _, dropped = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.socket.close()
        return dropped

    def has(self, marker):
        return any(marker in frame for frame in self.frames)

    def datagrams(self):
        return [d for frame in self.frames for d in parse_udp(frame, self.ethernet)]
