# SPDX-License-Identifier: MIT
"""Five percent of all packets are lost each way: the tunnel comes up, adds no loss of its own worth naming, and stays.

    h1 -- r1 (port NAT, 5 % loss both ways), h2 (public) -- inet -- server
"""

import re

from govpn import group
from lab import check


def scenario(lab):
    _, (a, b), addresses = group(lab, ["port", "open"], start=True)
    a.node.router.loss(5)
    a.kill9()
    a.start()
    a.wait_reaches(addresses[b], 20)
    out = a.node.run("ping", "-n", "-q", "-i", "0.01", "-c", "1000", addresses[b], check_code=False).stdout
    lost = float(re.search(r"([\d.]+)% packet loss", out)[1])
    check(5 < lost < 16, f"{lost} % lost where about 10 % are expected")
    check(a.path(addresses[b]) is not None, "the path ended")
    return f"{lost} % of pings lost (two ways at 5 %)"
