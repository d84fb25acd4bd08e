"""Fill the tables of recipes that the documentation has, from the evidence's table.

    python benchmarks/quote.py

Rows are found by the arm that their first cell names, columns by their heading; other columns stay as they are. Bold is
what is below zero by an interval that knows of more than one seed.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "results" / "evidence" / "table.md"
PAGES = [ROOT / "benchmarks" / "README.md", ROOT / "docs" / "pretexts.md"]
MEANS = "Means over tasks: paired difference to scratch in per cent, 95 % interval"
ALL = "Paired difference to scratch in per cent, 95 % interval: MEGNet, all labels, fine-tune"
COLUMNS = {  # heading here: title and heading there
    "100 labels": (MEANS, "MEGNet, 100 labels, fine-tune, 5 tasks"),
    "500 labels": (MEANS, "MEGNet, 500 labels, fine-tune, 5 tasks"),
    "all phonons": (ALL, "phonons"),
    "all jdft2d": (ALL, "jdft2d"),
    "frozen, 100": (MEANS, "MEGNet, 100 labels, kernel-ridge, 5 tasks"),
    "frozen, 500": (MEANS, "MEGNet, 500 labels, kernel-ridge, 5 tasks"),
}
TABLE_OF_RECIPES = re.compile(r"^\| recipe \|.*\n(?:\|.*\n)+", re.MULTILINE)


def filled(page: str, report: str) -> str:
    """A page with its tables of recipes as the report, a ``table.md``, has them."""
    tables = {
        part.partition("\n")[0]: [_cells(line) for line in part.splitlines() if line.startswith("|")]
        for part in report.split("\n## ")[1:]
    }

    def fill(table: re.Match[str]) -> str:
        heading, rule, *lines = table[0].splitlines(keepends=True)
        header = _cells(heading)
        rows = (
            [row[0], *(_entry(tables, row[0], *cell) for cell in zip(header[1:], row[1:], strict=True))]
            for row in map(_cells, lines)
        )
        return heading + rule + "".join(f"| {' | '.join(row)} |\n" for row in rows)

    return TABLE_OF_RECIPES.sub(fill, page)


def _entry(tables: dict[str, list[list[str]]], arm: str, heading: str, before: str) -> str:
    if heading not in COLUMNS:
        return before
    title, column = COLUMNS[heading]
    header, *rows = tables[title]
    entry = next((row[header.index(column)] for row in rows if f"`{row[0]}`" == arm), "-")
    is_clear = re.search(r", -\d+\.\d+\](?! \(1 seed\))", entry)
    return f"**{entry}**" if is_clear else entry


def _cells(line: str) -> list[str]:
    return line.strip("| \n").split(" | ")


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8"), TABLE.read_text(encoding="utf-8")), encoding="utf-8")
