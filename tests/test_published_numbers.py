"""What the documentation quotes with an interval stands in a table that a benchmark wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUOTED = re.compile(r"\[[-+]\d+\.\d+, [-+]\d+\.\d+\]")
PAGES = ["README.md", "benchmarks/README.md", "docs/pretexts.md"]


@pytest.mark.parametrize("page", PAGES)
def test_intervals_are_those_of_a_committed_table(page):
    tables = "\n".join(path.read_text() for path in (ROOT / "benchmarks" / "results").rglob("*.md"))
    quoted = QUOTED.findall(" ".join((ROOT / page).read_text().split()))  # also where a line ends within one
    assert quoted
    assert not [entry for entry in quoted if entry not in tables]
