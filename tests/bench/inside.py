# SPDX-License-Identifier: MIT
"""What the measuring programs share: they run in namespaces of their own, and one failure does not spoil the rest."""

import argparse
import os
import sys

UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "--uts"]


def start(parser, perform, out, valid=()):
    """Reads the command line, with options that all have; perform(args) runs inside. `valid`: what the names may be; empty: anything."""
    parser.add_argument("--build", default="build")
    parser.add_argument("--out", help=f"where the figures go (default: {out} in the build folder)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(valid)}" if valid else None)
    args = parser.parse_args()
    for name in args.names:
        if valid and name not in valid:
            parser.error(f"there is no {name}, only {', '.join(valid)}")
    args.out = args.out or os.path.join(args.build, out)
    os.environ["GOVPN_BUILD"] = os.path.abspath(args.build)
    if args.inside:
        code = perform(args)
        sys.stdout.flush()
        os._exit(code)  # the namespaces end the rest
    # In its place, so that whoever ends this process ends everything in the namespaces.
    os.execvp(UNSHARE[0], UNSHARE + [sys.executable, os.path.abspath(sys.argv[0]), "--inside", *sys.argv[1:]])


def attempt(lab, what, measure):
    """What measure() gives; None when it failed, which is said."""
    try:
        return measure()
    except Exception as e:  # whatever it is, the others go on
        print(f"FAIL {what}: {e}\n{lab.tails(10)}", flush=True)
        return None
