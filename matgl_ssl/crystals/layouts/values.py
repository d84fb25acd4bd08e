"""A structure out of one value of a table: an object, plain data, or text in one of the field's formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import IStructure, Structure

from matgl_ssl.crystals.layouts.cif import parse_cif
from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.plain import from_mapping, is_described, parsed
from matgl_ssl.crystals.layouts.poscar import parse_poscar
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from matgl_ssl.crystals.layouts.plain import One

_CIF = re.compile(r"^\s*(data_|loop_|_cell_|_atom_site_)", re.MULTILINE)
_HEAD = 4096


class _Text(Document):
    """Text that is in memory already."""

    def __init__(self, text: str) -> None:
        super().__init__(Path(), "text")  # no such path is ever opened
        self._text = text

    def text(self) -> str:
        return self._text


def holds_structure(value: Any) -> bool:
    """Whether a value is meant as a structure, by its form alone; it may still be a broken one."""
    if isinstance(value, Mapping):
        return is_described(value)
    if isinstance(value, str):
        kind = _format(value)
        return kind in ("cif", "poscar") or (kind == "json" and ("lattice" in value or '"cell"' in value))
    return is_structure(value)


def is_structure(value: Any) -> bool:
    """Whether it is a crystal already: ours, pymatgen's or ASE's."""
    from ase import Atoms

    return isinstance(value, (Crystal, IStructure, Atoms))


def structure_of(value: Any) -> One:
    """The structure that a value is, or describes.

    Args:
        value: A crystal, pymatgen structure or ASE atoms; a mapping with their fields (see ``plain``); or text: a CIF
            with one structure, a POSCAR, or JSON of such a mapping.

    Raises:
        DataError: If it is none of these, or cannot be read.
    """
    if is_structure(value):
        immutable = isinstance(value, IStructure) and not isinstance(value, Structure)
        return Structure.from_sites(list(value)) if immutable else value
    if isinstance(value, Mapping):
        return from_mapping(value)
    if not isinstance(value, str):
        raise DataError(f"{value!r:.60} is no structure, but a {type(value).__name__}")
    kind = _format(value)
    if kind == "json":
        return structure_of(content) if isinstance(content := parsed(value), Mapping) else _not_one(value)
    if kind == "":
        return _not_one(value)
    found = [entry[1] for entry in (parse_cif if kind == "cif" else parse_poscar)(_Text(value))]
    if len(found) != 1:
        raise DataError(f"a {kind.upper()} with {len(found)} structures; each row is one")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _format(text: str) -> str:
    head = text[:_HEAD].lstrip("\ufeff \t\r\n")
    if head[:1] in ("{", "["):
        return "json"
    if _CIF.search(head):
        return "cif"
    return "poscar" if _is_poscar(text[:_HEAD].split("\n")[1:5]) else ""


def _is_poscar(lines: list[str]) -> bool:
    """Whether what follows the comment is a scale (or three) and three vectors."""
    try:
        scale, *vectors = [list(map(float, line.split()[:3])) for line in lines]
    except ValueError:
        return False
    return len(scale) in (1, 3) and [len(vector) for vector in vectors] == [3, 3, 3]


def _not_one(text: str) -> One:
    raise DataError(f"{text!r:.60} is no structure: expected a CIF, a POSCAR, or JSON of a structure")
