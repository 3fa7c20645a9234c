# SPDX-License-Identifier: MIT
"""Computers without IPv4 outside: a firewalled IPv6-only home, another one, and a home with both.

    h1 (IPv4 and IPv6), h2 (IPv6 only), h3 (IPv6 only) -- inet -- server (both)
"""

from govpn import Computer, Server, wait_mesh
from lab import SERVER_IPV6, check


def scenario(lab):
    server = Server(lab, options=("--listen", f"[{SERVER_IPV6}]:8443")).start()
    a, b, c = [Computer(lab, lab.home(kind)).start() for kind in ("dual", "v6", "v6")]
    made = a.create("six", server, password="a long password of 6")
    over6 = Server(lab, address=SERVER_IPV6)  # the same server, dialled by its other address
    for one in (b, c):
        one.join_code(made["code"], over6, "a long password of 6")
    addresses = wait_mesh(lab, [a, b, c], 20)
    for one, two in ((a, b), (b, c)):
        check(one.path(addresses[two])["remote"].startswith("["), f"path {one.path(addresses[two])}")
    return "3 pairs over IPv6"
