"""Layouts: one file a family of them, each a generator of entries.

A parser yields ``(key, structure, labels)`` per entry, where ``key`` tells the entries of a file apart (``""`` when
there is only one); a label ``material_id`` names the entry instead. What stands alone but cannot be parsed is yielded
as the exception, what breaks the file is raised; ``read_crystals`` decides what to do about either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_files import parse_json, parse_jsonl
from matgl_ssl.crystals.layouts.structures import parse_cif, parse_poscar, parse_xyz

PARSERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    ".cif": parse_cif,
    ".vasp": parse_poscar,
    ".poscar": parse_poscar,
    ".extxyz": parse_xyz,
    ".xyz": parse_xyz,
    ".json": parse_json,
    ".jsonl": parse_jsonl,
}


def file_kind(path: Path) -> str:
    """The key of ``PARSERS`` for a file, or its own lower-case suffix; a trailing ``.gz`` does not count."""
    name = path.name.removesuffix(".gz")
    if Path(name).suffix.lower() not in PARSERS and name.upper().startswith(("POSCAR", "CONTCAR")):
        return ".vasp"
    return Path(name).suffix.lower()


def stem(path: Path) -> str:
    """``path`` without the suffix that told its kind, with forward slashes."""
    name = readable(path.as_posix()).removesuffix(".gz")
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in PARSERS else name


def readable(name: str) -> str:
    """A file's name as text: where the system's encoding is not its own, Python gives bytes that are none."""
    return os.fsencode(name).decode(errors="replace")
