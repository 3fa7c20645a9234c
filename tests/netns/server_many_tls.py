# SPDX-License-Identifier: MIT
"""server_many with TLS.

    strangers (100.64.0.0/16) -- inet -- server
"""

import server_many

SOAK = True
TIME_LIMIT_S = 600


def scenario(lab):
    return server_many.scenario(lab, tls="self-made")
