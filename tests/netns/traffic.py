# SPDX-License-Identifier: MIT
"""Traffic of all kinds between the members of a network, at a rate that is known, while members come and go."""

import select
import socket
import struct
import threading
import time

UDP_PORT, TCP_PORT, ALL_PORT = 7001, 7002, 7003
UDP_BYTES, TCP_BYTES = 1000, 4000
TICK_S = 0.02
HEAD = struct.Struct("!QQ")  # sender, number


class Member:
    """The sockets of one computer."""

    def __init__(self, computer, address, number):
        self.computer, self.address, self.number = computer, address, number
        self.sent, self.got, self.all_got = {}, {}, 0  # {member: packets}
        self.on = True
        with computer.node:
            self.udp, self.all = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for s, port in ((self.udp, UDP_PORT), (self.all, ALL_PORT)):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.bind(("", port))
            s.setblocking(False)
        self.listener.bind(("", TCP_PORT))
        self.listener.listen(16)
        self.listener.setblocking(False)


class Stream:
    """A TCP connection that is made again whenever it ends; the receiver checks that no byte is missing."""

    def __init__(self, a, b):
        self.a, self.b, self.socket, self.at, self.retry = a, b, None, 0, 0.0

    def send(self, count):
        now = time.monotonic()
        if self.socket is None:
            if now < self.retry:
                return
            self.retry, self.at = now + 1, 0
            with self.a.computer.node:
                self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.socket.setblocking(False)
            self.socket.connect_ex((self.b.address, TCP_PORT))
            return
        try:
            block = bytes((self.at + i) & 0xFF for i in range(256)) * (count // 256 + 1)
            self.at += self.socket.send(block[:count])
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            self.socket = None


class Traffic:
    """UDP between every two, a TCP stream around the ring, pings, and broadcasts; about `mbits` together."""

    def __init__(self, members, broadcast, mbits=10):
        self.members = [Member(c, address, i) for i, (c, address) in enumerate(members.items())]
        self.by = {m.computer: m for m in self.members}
        self.broadcast = broadcast
        pairs = [(a, b) for a in self.members for b in self.members if a is not b]
        self.pairs = pairs
        self.udp_each_s = mbits / 2 * 1e6 / 8 / UDP_BYTES / len(pairs)
        self.streams = [Stream(m, self.members[(i + 1) % len(members)]) for i, m in enumerate(self.members)]
        self.tcp_tick_bytes = int(mbits / 2 * 1e6 / 8 * TICK_S / len(self.streams))
        self.tcp_bytes, self.tcp_wrong, self.broadcasts = 0, [], 0
        self.sending, self.going = threading.Event(), True
        self.idle = threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]
        for t in self.threads:
            t.start()

    def start(self):
        self.sending.set()

    def pause(self):
        """No packet is sent any more when it returns."""
        self.idle.clear()
        self.sending.clear()
        self.idle.wait(5)

    def stop(self):
        self.pause()
        self.going = False
        for t in self.threads:
            t.join()

    def _send(self):
        due, last = {p: 0.0 for p in self.pairs}, time.monotonic()
        next_all = last
        while self.going:
            time.sleep(TICK_S)
            now = time.monotonic()
            if not self.sending.is_set():
                self.idle.set()
                last = now
                continue
            step, last = min(now - last, 0.2), now
            for a, b in self.pairs:
                due[a, b] += self.udp_each_s * step
                while due[a, b] >= 1:
                    due[a, b] -= 1
                    if a.on and b.on:
                        self._datagram(a, b)
            for s in self.streams:
                if s.a.on and s.b.on:
                    s.send(int(self.tcp_tick_bytes * step / TICK_S))
            if now >= next_all:
                next_all = now + 0.5
                for m in self.members:
                    if m.on:
                        self._to_all(m)

    def _datagram(self, a, b):
        number = a.sent.get(b, 0)
        try:
            a.udp.sendto(HEAD.pack(a.number, number).ljust(UDP_BYTES, b"\x5a"), (b.address, UDP_PORT))
            a.sent[b] = number + 1
        except OSError:
            pass  # no route: the interface is away

    def _to_all(self, m):
        try:
            m.all.sendto(HEAD.pack(m.number, 0), (self.broadcast, ALL_PORT))
            self.broadcasts += 1
        except OSError:
            pass

    def _receive(self):
        poll, connections = select.epoll(), {}
        handlers = {}
        for m in self.members:
            for s, handler in ((m.udp, self._got_datagram), (m.all, self._got_all), (m.listener, None)):
                handlers[s.fileno()] = (handler, s, m)
                poll.register(s, select.EPOLLIN)
        while self.going:
            for fd, _ in poll.poll(0.1):
                if fd in connections:
                    self._got_bytes(fd, connections)
                    continue
                handler, s, m = handlers[fd]
                if handler:
                    handler(s, m)
                    continue
                try:
                    connection = s.accept()[0]
                except OSError:
                    continue
                connection.setblocking(False)
                connections[connection.fileno()] = [connection, 0]
                poll.register(connection, select.EPOLLIN)

    def _got_datagram(self, s, m):
        for _ in range(64):
            try:
                data = s.recv(2048)
            except BlockingIOError:
                return
            sender = self.members[HEAD.unpack_from(data)[0]]
            m.got[sender] = m.got.get(sender, 0) + 1

    @staticmethod
    def _got_all(s, m):
        for _ in range(64):
            try:
                s.recv(2048)
                m.all_got += 1
            except BlockingIOError:
                return

    def _got_bytes(self, fd, connections):
        connection, at = connections[fd]
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            connection.close()
            del connections[fd]
            return
        if any(data[i] != (at + i) & 0xFF for i in (0, len(data) // 2, len(data) - 1)):
            self.tcp_wrong.append(at)
        connections[fd][1] = at + len(data)
        self.tcp_bytes += len(data)
