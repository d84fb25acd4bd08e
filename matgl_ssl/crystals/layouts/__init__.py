"""Layouts: one file a family of them, each a generator of entries.

A parser yields ``(key, structure, labels)`` per entry, where ``key`` tells the entries of a file apart (``""`` when
there is only one); a label ``material_id`` names the entry instead. What stands alone but cannot be parsed is yielded
as the exception, what breaks the file is raised; ``read_crystals`` decides what to do about either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from matgl_ssl.crystals.layouts.ase_files import parse_aselmdb, parse_db, parse_traj
from matgl_ssl.crystals.layouts.atoms import parse_xyz
from matgl_ssl.crystals.layouts.cif import parse_cif
from matgl_ssl.crystals.layouts.documents import Document, unpacked_name
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_files import parse_json, parse_jsonl
from matgl_ssl.crystals.layouts.poscar import parse_poscar
from matgl_ssl.crystals.layouts.text_tables import parse_csv

PARSERS: dict[str, Callable[[Document], Iterator[Entry]]] = {
    ".cif": parse_cif,
    ".vasp": parse_poscar,
    ".poscar": parse_poscar,
    ".extxyz": parse_xyz,
    ".xyz": parse_xyz,
    ".db": parse_db,
    ".aselmdb": parse_aselmdb,
    ".traj": parse_traj,
    ".json": parse_json,
    ".jsonl": parse_jsonl,
    ".csv": parse_csv,
    ".tsv": parse_csv,
}


def file_kind(name: str) -> str:
    """The key of ``PARSERS`` for a file, or its own lower-case suffix; that of a compression does not count."""
    name = PurePosixPath(unpacked_name(name)).name
    if PurePosixPath(name).suffix.lower() not in PARSERS and name.upper().startswith(("POSCAR", "CONTCAR")):
        return ".vasp"
    return PurePosixPath(name).suffix.lower()


def stem(name: str) -> str:
    """A file's name without the suffixes that show its kind."""
    suffix = PurePosixPath(name := unpacked_name(name)).suffix
    return name.removesuffix(suffix) if suffix.lower() in PARSERS else name


def readable(name: str) -> str:
    """A file's name as text: where the system's encoding is not its own, Python gives bytes that are none."""
    return os.fsencode(name).decode(errors="replace")
