# SPDX-License-Identifier: MIT
"""Computers without IPv4 outside: a firewalled IPv6-only home, another one, and a home with both.

    h1 (IPv4 and IPv6), h2 (IPv6 only), h3 (IPv6 only) -- inet -- server (both)

The line of h3 is PPPoE: it carries 1,492 bytes, and nobody says so to those whose packets are larger.
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
    # Datagrams leave one by one, so that each is measured.
    for one in (b, c):
        one.node.run("ethtool", "-K", one.node.uplink(), "tx-udp-segmentation", "off")
    c.node.router.drop("pppoe", "ip6 length > 1452")
    sink = c.node.start("iperf3", "-s", "-1", "-B", addresses[c], log="iperf3")
    lab.wait(lambda: f"{addresses[c]}:5201" in c.node.run("ss", "-Hltn").stdout, 5, "iperf3 listens")
    b.node.run("iperf3", "-c", addresses[c], "-n", "4M", timeout_s=20)
    sink.wait(10)
    return "3 pairs over IPv6; 4 MB by TCP over a line of 1,492 bytes"
