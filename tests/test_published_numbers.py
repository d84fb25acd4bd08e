"""What the documentation quotes with an interval stands in a table that a benchmark wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUOTED = re.compile(r"\[[-+]\d+\.\d+, [-+]\d+\.\d+\]")
ROW_OF_AN_ARM = re.compile(r"^\| `([\w-]+)` \|.*", re.MULTILINE)
PAGES = ["README.md", "benchmarks/README.md", "docs/pretexts.md"]


@pytest.mark.parametrize("page", PAGES)
def test_intervals_are_those_of_a_committed_table(page):
    quoted = QUOTED.findall(" ".join((ROOT / page).read_text().split()))  # also where a line ends within one
    tables = committed_tables()
    assert quoted
    assert not [entry for entry in quoted if entry not in tables]


@pytest.mark.parametrize("page", ["benchmarks/README.md", "docs/pretexts.md"])
def test_rows_of_an_arm_quote_its_own_numbers(page):
    quoted = [
        (row[1], entry[0])
        for row in ROW_OF_AN_ARM.finditer((ROOT / page).read_text())
        for entry in re.finditer(rf"[-+]\d+\.\d {QUOTED.pattern}", row[0])
    ]
    lines = committed_tables().splitlines()
    assert quoted
    assert not [(a, entry) for a, entry in quoted if not any(x.startswith(f"| {a} |") and entry in x for x in lines)]


def committed_tables() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "benchmarks" / "results").rglob("*.md"))
