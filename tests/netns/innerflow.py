# SPDX-License-Identifier: MIT
"""Inner packets: who sends them, and how many of whom reach a TUN. And what the daemon that carries them takes."""

import socket
import struct
import threading
import time

ETH_P_ALL, OUTGOING = 3, 4
PORT = 9


class Sender:
    """Numbered UDP datagrams to a tunnel address, as long as it lives; errors do not stop it."""

    def __init__(self, node, address, interval_s=0.02):
        with node:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address, self.interval_s, self.sent, self.going = address, interval_s, 0, True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.going:
            try:
                self.socket.sendto(struct.pack("!Q", self.sent), (self.address, PORT))
                self.sent += 1
            except OSError:
                pass
            time.sleep(self.interval_s)

    def stop(self):
        self.going = False
        self.thread.join()


class Arrivals:
    """Counts, by source address, what the daemon wrote to the TUNs of a node, however often they are made anew."""

    def __init__(self, node, prefix="govpn"):
        self.counts, self.numbers, self.prefix = {}, {}, prefix
        with node:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                packet, (dev, _, kind, _, _) = self.socket.recvfrom(65535)
            except OSError:
                continue  # an interface went away
            if kind == OUTGOING or not dev.startswith(self.prefix) or len(packet) < 20:
                continue
            six = packet[0] >> 4 == 6
            source = socket.inet_ntop(socket.AF_INET6, packet[8:24]) if six else socket.inet_ntoa(packet[12:16])
            self.counts[source] = self.counts.get(source, 0) + 1
            if not six and packet[9] == socket.IPPROTO_UDP:
                # The daemon joins several in a row to one.
                self.numbers.setdefault(source, set()).update(packet[i:i + 8] for i in range(28, len(packet), 8))

    def of(self, *sources):
        return sum(self.counts.get(s, 0) for s in sources)
