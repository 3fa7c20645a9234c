# SPDX-License-Identifier: MIT
"""Plan 1.2: the interface is made on connect, addressed from the server's answer, up, and destroyed on disconnect.

    h1 -- inet -- server
"""

from govpn import Computer, Server
from lab import check


def scenario(lab):
    server = Server(lab).start()
    computer = Computer(lab, lab.home("open")).start()
    check(not computer.interfaces(), "an interface before any network")
    net = computer.create("one", server)

    def up_with_address():
        found = computer.interfaces().get("govpn0", [])
        wanted = {net["ipv4"].split("/")[0], net["ipv6"].split("/")[0]}
        return {a.split("/")[0] for a in found} == wanted and found

    first = lab.wait(up_with_address, 5, "govpn0 with the two addresses of the answer")
    for _ in range(3):
        computer.ok("down", net["id"])
        check(not computer.interfaces(), "govpn0 is there after `down`")
        computer.ok("up", net["id"])
        check(lab.wait(up_with_address, 5, "govpn0 is back on `up`") == first, "other addresses after `up`")
    check(computer.stop() == 0, "the daemon did not end well")
    check(not computer.interfaces(), "govpn0 outlives the daemon")
    computer.start()
    lab.wait(up_with_address, 5, "govpn0 is back with the daemon")
    computer.ok("leave", net["id"])
    check(not computer.interfaces(), "govpn0 is there after `leave`")
    check(computer.networks() == [], "a network is left after `leave`")
