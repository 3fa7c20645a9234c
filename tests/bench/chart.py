#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Draws what bench.py measured: one row of bars for each figure, the medians as bars and each round as a dot.

usage: chart.py [FILE.jsonl [OUT.svg]]      default: build/bench.jsonl docs/performance.svg
"""

import json
import statistics
import sys

FIGURES = [
    # key, title, scale, format
    ("tcp1", "one TCP stream, Gbit/s", 1e-9, "{:.2f}"),
    ("tcp4", "four TCP streams, Gbit/s", 1e-9, "{:.2f}"),
    ("reverse", "one TCP stream in reverse, Gbit/s", 1e-9, "{:.2f}"),
    ("udp_pps", "64-byte packets with less than 1 % loss, thousands/s", 1e-3, "{:.0f}"),
    ("ping_idle_ms", "ping, idle, ms (average)", 1, "{:.3f}"),
    ("ping_loaded_p99_ms", "ping beside one TCP stream, ms (99th percentile)", 1, "{:.1f}"),
    ("cpu_s_per_gb", "processor seconds per GB, both ends", 1, "{:.2f}"),
    ("vm_hwm_kb", "peak memory of one end, MB", 1 / 1024, "{:.1f}"),
]
WIDTH, LEFT, RIGHT, ROW, GAP, TITLE = 760, 120, 90, 17, 14, 20
OURS, OTHERS, DOT, INK = "#0b7a75", "#b8c4cc", "#37474f", "#263238"


def text(x, y, content, size=12, anchor="start", weight="normal"):
    escaped = content.replace("&", "&amp;").replace("<", "&lt;")
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{INK}">{escaped}</text>')


def figure(key, title, scale, form, rounds, names, top):
    """The SVG of one figure and the height it takes."""
    values = {n: [r[key] * scale for r in rounds[n] if r.get(key) is not None] for n in names}
    values = {n: v for n, v in values.items() if v}
    if not values:
        return [], 0
    most = max(max(v) for v in values.values())
    out, y = [text(0, top + 14, title, 13, weight="bold")], top + TITLE
    for name, v in values.items():
        median = statistics.median(v)
        length = (WIDTH - LEFT - RIGHT) * median / most if most else 0
        out.append(text(LEFT - 8, y + 12, name, 12, "end", "bold" if name == "goVPN" else "normal"))
        out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(length, 1):.1f}" height="{ROW - 5}" '
                   f'fill="{OURS if name == "goVPN" else OTHERS}"/>')
        for one in v:
            x = LEFT + (WIDTH - LEFT - RIGHT) * one / most
            out.append(f'<circle cx="{x:.1f}" cy="{y + 2 + (ROW - 5) / 2}" r="2" fill="{DOT}"/>')
        out.append(text(LEFT + (WIDTH - LEFT - RIGHT) * max(v) / most + 8, y + 12, form.format(median)))
        y += ROW
    return out, y - top + GAP


def main():
    source = sys.argv[1] if len(sys.argv) > 1 else "build/bench.jsonl"
    target = sys.argv[2] if len(sys.argv) > 2 else "docs/performance.svg"
    with open(source, encoding="utf-8") as f:
        machine, *lines = [json.loads(line) for line in f]
    rounds = {}
    for line in lines:
        rounds.setdefault(line["program"], []).append(line)
    body, y = [], 26
    count = max(len(r) for r in rounds.values())
    head = f'{machine["date"]}, {machine["cpus"]} processors ({machine["cpu"]}), Linux {machine["kernel"]}; medians of {count} rounds'
    body.append(text(0, 14, head, 12))
    for one in FIGURES:
        svg, height = figure(*one, rounds, list(rounds), y)
        body += svg
        y += height
    with open(target, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
                f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")
    print(f"drawn: {target}")


if __name__ == "__main__":
    main()
