"""What every layout yields, and what several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.io import zopen
from pymatgen.core import Structure

from matgl_ssl.crystals.records import Crystal

if TYPE_CHECKING:
    from ase import Atoms

UTF8 = "utf-8-sig"  # Windows' editors put a mark before the text

Entry = tuple[str, "Crystal | Structure | Atoms | Exception", dict[str, Any]]


def text_of(path: Path) -> str:
    """A file's text, whatever it is compressed with."""
    with zopen(path, mode="rt", encoding=UTF8) as file:
        return str(file.read())
