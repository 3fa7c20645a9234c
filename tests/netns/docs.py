# SPDX-License-Identifier: MIT
"""Tables of docs/testing.md that scenarios write, between <!-- NAME: begin --> and <!-- NAME: end -->."""

import os

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "testing.md")


def write_table(name, head, rows):
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    lines = [head, ["---"] * len(head), *rows]
    table = "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in lines)
    with open(PATH, encoding="utf-8") as f:
        before, rest = f.read().split(begin)
    with open(PATH, "w", encoding="utf-8") as f:
        f.write(before + begin + "\n" + table + end + rest.split(end)[1])


HEAD = ("kind", "what was tried", "what holds")


def compact(rows):
    """(kind, what, holds) rows with the same kind and outcome become one; what occurs twice stands there once."""
    found = {}
    for kind, what, holds in rows:
        names = found.setdefault((kind, holds), [])
        if what not in names:
            names.append(what)
    return [(kind, "; ".join(names), holds) for (kind, holds), names in found.items()]
