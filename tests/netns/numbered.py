# SPDX-License-Identifier: MIT
"""Inner packets with numbers, and a look at what comes out of a tunnel: each as often as it should."""

import collections
import re
import socket
import struct

from capture import Capture
from lab import check
from packets import datagram

BAD, GOOD, GOOD_BYTES = b"not-for-you", b"for-you:", 4


def good(number, source, target):
    """`number` packets that must arrive, each with a number of its own."""
    return [datagram(source, target, GOOD + struct.pack("!I", i)) for i in range(number)]


class Seen:
    """What comes out of a tunnel interface while this watches."""

    def __init__(self, computer, dev="govpn0"):
        # Somebody has to be at home, or the answer "port unreachable" would repeat what came.
        with computer.node:
            self.home = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.home.bind(("", 4001))
        self.capture = Capture(computer.node, dev, lambda f: BAD in f or GOOD in f, ethernet=False)

    def end(self):
        """(frames with something bad, {number of a correct packet: times it came})"""
        check(self.capture.stop() == 0, "the capture lost frames")
        self.home.close()
        found = re.findall(GOOD + b"(.{%d})" % GOOD_BYTES, b"".join(self.capture.frames), re.S)
        numbers = collections.Counter(struct.unpack("!I", n)[0] for n in found)
        return [f for f in self.capture.frames if BAD in f], numbers
