#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A flame graph of a profile: how often each call stack was seen, the callers below.

usage: perf script -i FILE -F comm,ip,sym,dso | flame.py OUT.svg [TITLE]

Stacks of a thread stand on its name: the kernel in one colour, the program in another, libraries in a third. What is narrower
than 0.3 % is left out; a tooltip has the share.
"""

import re
import sys
import zlib

WIDTH, ROW, LEAST = 1200, 16, 0.003
KERNEL, OURS, LIBRARY = (214, 137, 16), (11, 122, 117), (110, 130, 190)


def read_stacks(lines):
    """{stack from the thread's name up: samples}."""
    stacks, stack = {}, []
    for line in lines:
        if not line.strip():
            if len(stack) > 1:
                key = (stack[0], *reversed(stack[1:]))
                stacks[key] = stacks.get(key, 0) + 1
            stack = []
        elif not line[0].isspace():
            stack = [(line.split()[0], "")]
        else:
            found = re.match(r"\s+[0-9a-f]+ (\S+).* \((.*)\)$", line.rstrip())
            if found:
                stack.append((found[1], found[2]))
    return stacks


def build(stacks):
    root = {"n": 0, "down": {}}
    for stack, n in stacks.items():
        at = root
        at["n"] += n
        for name in stack:
            at = at["down"].setdefault(name, {"n": 0, "down": {}})
            at["n"] += n
    return root


def depth(node, total):
    return 1 + max((depth(d, total) for d in node["down"].values() if d["n"] / total >= LEAST), default=0)


def color(name, where):
    shade = zlib.crc32(name.encode()) % 40
    base = KERNEL if "kernel" in where else LIBRARY if ".so" in where else OURS
    return "rgb({},{},{})".format(*(min(255, c + shade) for c in base))


def draw(node, frame, x, y, total, out):
    name, where = frame
    width = WIDTH * node["n"] / total
    share = 100 * node["n"] / total
    label = name.replace("&", "&amp;").replace("<", "&lt;")
    out.append(f'<g><title>{label} {share:.1f} %</title><rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}" '
               f'height="{ROW - 1}" fill="{color(name, where)}"/>')
    fits = int(width / 6.2)
    if fits >= 4:
        out.append(f'<text x="{x + 3:.1f}" y="{y + 11}">{label if len(name) <= fits else label[:fits - 1] + "…"}</text>')
    out.append("</g>")
    for below, d in sorted(node["down"].items()):
        if d["n"] / total >= LEAST:
            draw(d, below, x, y - ROW, total, out)
        x += WIDTH * d["n"] / total


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    root = build(read_stacks(sys.stdin))
    if root["n"] == 0:
        sys.exit("flame.py: no stacks")
    height = ROW * depth(root, root["n"]) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           f'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="white"/>',
           f'<text x="4" y="16" font-size="13">{sys.argv[2] if len(sys.argv) > 2 else ""} ({root["n"]} samples)</text>']
    draw(root, ("all", ""), 0, height - ROW, root["n"], out)
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n</svg>\n")


if __name__ == "__main__":
    main()
