# SPDX-License-Identifier: MIT
"""The shortest way to a tunnel: two public computers, one network, a ping each way.

    h1, h2 -- inet -- server
"""

from govpn import group

TAGS = {"quick"}


def scenario(lab):
    _, (a, b), addresses = group(lab, ["open", "open"])
    return f"{addresses[a]} and {addresses[b]}"
