"""The benchmark of damaged files in short: every kind of file that is read again, damaged in every way once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.pyg  # files are the same in both backends, and this takes a minute


def test_no_damaged_file_is_believed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from reliability_parts.damage import damaged

    counts = damaged(tmp_path, seed=1, n=1)
    assert len(counts) > 25
    log = tmp_path / "log"
    assert not log.exists(), log.read_text()
    assert sum(found["told"] for found in counts.values()) > 0.9 * sum(found["n"] for found in counts.values())
