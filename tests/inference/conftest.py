"""Structure files, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bad_crystals import write_bad, write_mixed


@pytest.fixture
def bad_file(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a file of one bad crystal."""
    return lambda kind: write_bad(kind, tmp_path)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A table of three good crystals among three bad ones."""
    return write_mixed(tmp_path)
