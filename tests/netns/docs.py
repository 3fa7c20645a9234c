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
