"""Fill the tables of arms that the documentation has, from those that the benchmarks wrote.

    python benchmarks/quote.py

Rows are found by the arm that their first cell names, columns by their heading; other columns stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "benchmarks" / "README.md", ROOT / "docs" / "pretexts.md"]
TO_SCRATCH = "difference to scratch in per cent, 95 % interval"
MEANS = f"Means over tasks: paired {TO_SCRATCH}"
ALL = f"Paired {TO_SCRATCH}: MEGNet, all labels, fine-tune"
COLUMNS = {  # heading here: study, title and heading there
    "100 labels": ("evidence", MEANS, "MEGNet, 100 labels, fine-tune, 5 tasks"),
    "500 labels": ("evidence", MEANS, "MEGNet, 500 labels, fine-tune, 5 tasks"),
    "all phonons": ("evidence", ALL, "phonons"),
    "all jdft2d": ("evidence", ALL, "jdft2d"),
    "frozen, 100": ("evidence", MEANS, "MEGNet, 100 labels, kernel-ridge, 5 tasks"),
    "frozen, 500": ("evidence", MEANS, "MEGNet, 500 labels, kernel-ridge, 5 tasks"),
} | {
    f"{heading}, {n}": ("other-properties", f"Paired {TO_SCRATCH}: MEGNet, {n} labels, fine-tune", column)
    for n in (100, 500)
    for heading, column in {
        "dielectric constant": "dielectric",
        "Poisson's ratio": "poisson-ratio",
        "magnetisation": "magnetisation",
        "shear modulus": "shear-modulus",
        "mean of the four": "mean over tasks",
    }.items()
}
TABLE_OF_ARMS = re.compile(r"^\| (?:recipe|arm) \|.*\n(?:\|.*\n)+", re.MULTILINE)


def reports() -> dict[str, str]:
    """The ``table.md`` of each study that is quoted."""
    studies = dict.fromkeys(study for study, *_ in COLUMNS.values())
    return {study: (RESULTS / study / "table.md").read_text(encoding="utf-8") for study in studies}


def filled(page: str, reports: dict[str, str]) -> str:
    """A page with its tables of arms as the reports, a ``table.md`` of each study, have them."""
    tables = {
        (study, part.partition("\n")[0]): [_cells(line) for line in part.splitlines() if line.startswith("|")]
        for study, report in reports.items()
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

    return TABLE_OF_ARMS.sub(fill, page)


def _entry(tables: dict[tuple[str, str], list[list[str]]], arm: str, heading: str, before: str) -> str:
    if heading not in COLUMNS:
        return before
    study, title, column = COLUMNS[heading]
    header, *rows = tables[study, title]
    return next((row[header.index(column)] for row in rows if f"`{row[0]}`" == arm), "-")


def _cells(line: str) -> list[str]:
    return line.strip("| \n").split(" | ")


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8"), reports()), encoding="utf-8")
