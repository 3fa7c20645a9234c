# SPDX-License-Identifier: MIT
"""TCP streams whose every byte is compared."""

import hashlib
import random
import socket
import threading


class Stream(threading.Thread):
    """A TCP connection from one node to another: blocks of all sizes, each at once (PSH), and bytes of urgent data.
    When the thread has ended, `wrong` says what was not received as it was sent, by its SHA-256."""

    def __init__(self, source, sink, target, port, size):
        super().__init__(daemon=True)
        self.size, self.wrong, self.digest, self.target, self.port = size, None, None, target, port
        self.random = random.Random(port)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with sink:
            self.listener = socket.create_server((target, port), family=family)
        with source:
            self.socket = socket.socket(family, socket.SOCK_STREAM)

    def run(self):
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        try:
            self.listener.settimeout(30)
            peer, _ = self.listener.accept()
            peer.settimeout(30)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            digest = hashlib.sha256()
            while block := peer.recv(1 << 18):
                digest.update(block)
            sender.join()
            if digest.digest() != self.digest:
                self.wrong = "other bytes came than were sent"
        except OSError as e:
            self.wrong = str(e)
        self.listener.close()

    def _send(self):
        digest, left = hashlib.sha256(), self.size
        self.socket.settimeout(30)
        self.socket.connect((self.target, self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while left > 0:
            block = self.random.randbytes(min(left, self.random.choice((1, 100, 1340, 5000, 60000, 250000))))
            self.socket.sendall(block)
            if self.random.random() < 0.05:
                self.socket.send(b"!", socket.MSG_OOB)
                block += b"!"
            digest.update(block)
            left -= len(block)
        self.digest = digest.digest()
        self.socket.close()
