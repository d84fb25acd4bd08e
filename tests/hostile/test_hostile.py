"""Hostile inputs over every reader and loader: none executes anything, asks for anything, or opens another's file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from reliability_parts.hostile import executed, seen


@pytest.mark.slow
def test_no_hostile_input_executes_asks_or_opens(tmp_path):
    found = executed(tmp_path / "all")
    assert found["others"] == []
    assert (found["executed"], found["requests"], found["foreign_paths"]) == (0, 0, 0)
    assert found["tried"] > 400
    assert set(found["by_loader"]) == {"data", "model", "checkpoint", "yaml", "run", "units", "unit"}


@pytest.mark.slow
def test_the_watch_sees_what_readers_do_that_believe(tmp_path):
    rows = seen(tmp_path / "naive", "naive")
    kinds = {row["name"]: {kind for kind, _ in row["seen"]} for row in rows}
    for name in ("monty", "pymatgen", "pickle", "system", "torch", "yaml"):
        assert "executed" in kinds[name], name
    assert kinds["request"] == {"requests"}
    assert kinds["open"] == kinds["arrow"] == {"foreign_paths"}
