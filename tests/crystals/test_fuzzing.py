"""Whatever a file holds, reading it gives crystals or a typed error, soon and in little memory."""

from __future__ import annotations

from collections import Counter

import pytest
from crystals.fuzzing import outcomes


@pytest.mark.slow
def test_damaged_files_give_crystals_or_typed_errors(tmp_path):
    found = outcomes(500, tmp_path)
    others = [row for row in found if row["came"] not in ("result", "typed")]
    assert others == []
    assert min(Counter(row["came"] for row in found).values()) > 30
    assert len({row["name"] for row in found}) > 15
