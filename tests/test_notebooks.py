"""Notebooks open with what the reader will have at the end, are in the style of the pages, and carry no outputs.

``make notebooks`` executes them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prose import problems

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=BOOKS, ids=lambda path: path.stem)
def cells(request):
    return json.loads(request.param.read_text(encoding="utf-8"))["cells"]


def test_it_opens_with_what_you_will_have(cells):
    assert "At the end of this notebook you will have" in "".join(cells[0]["source"])


def test_its_words_are_in_the_style(cells):
    words = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not problems(words)


def test_it_carries_no_outputs_and_few_lines(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert sum(len(cell["source"]) for cell in code) <= 130
