# SPDX-License-Identifier: MIT
"""sigload (tests/support/sigload.c) in a machine that has 65,536 addresses, so that limits by address are those of many."""

import json
import os
import subprocess

from lab import Failure

SOURCES = "100.64.0.0"
COUNT = 65536


def strangers(lab, last=77):
    """A public machine that is 100.64.0.0/16 as well."""
    node = lab.public("strangers", last)
    node.ip(f"route add local {SOURCES}/16 dev lo")
    lab.inet.ip(f"route add {SOURCES}/16 via 203.0.113.{last}")
    return node


def command(server, *args, sources=COUNT):
    program = os.path.join(os.environ["GOVPN_BUILD"], "tests", "support", "sigload")
    tls = [] if server.tls == "off" else ["--tls"]
    return [program, *tls, "--sources", f"{SOURCES}/{sources}", server.listen, *map(str, args)]


def start(node, server, *args, **more):
    """In the background; finish() gives what it found."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # sigload ends with what it has
    return subprocess.Popen(node.wrap(command(server, *args, **more)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=env)


def finish(process, limit_s=600):
    out, err = process.communicate(timeout=limit_s)
    if process.returncode != 0:
        raise Failure(f"{' '.join(process.args[-3:])}: exit code {process.returncode}: {err.strip()}")
    return json.loads(out.splitlines()[-1])


def run(node, server, *args, **more):
    return finish(start(node, server, *args, **more))


def line(process):
    """The next line of one that goes on."""
    text = process.stdout.readline()
    if not text:
        raise Failure(f"sigload ended: {process.stderr.read().strip()}")
    return json.loads(text)


def resident_kb(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return next(int(row.split()[1]) for row in f if row.startswith("VmRSS:"))


def cpu_s(process):
    """Time on a processor so far."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
