"""Structure files: CIF, POSCAR, extended XYZ and JSON, one entry at a time.

Each parser yields ``(key, structure, labels)`` per entry, where ``key`` tells the entries of a file apart (``""`` when
there is only one); a label ``material_id`` names the entry instead. What stands alone but cannot be parsed is yielded
as the exception, what breaks the file is raised; ``read_crystals`` decides what to do about either.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monty.io import zopen
from pymatgen.core import Structure

from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import STRUCTURE_COLUMNS
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

_UTF8 = "utf-8-sig"  # Windows' editors put a mark before the text

Entry = tuple[str, "Crystal | Structure | Atoms | Exception", dict[str, Any]]


def parse_cif(path: Path) -> Iterator[Entry]:
    """The structures of a CIF, in the cell the file describes."""
    from pymatgen.io.cif import CifFile, CifParser

    text = _text(path)
    with warnings.catch_warnings():  # pymatgen warns of every rounded coordinate
        warnings.simplefilter("ignore")
        parser = CifParser(io.StringIO(text))
        with_atoms = [
            name for name, block in parser.as_dict().items() if any(k.startswith("_atom_site_") for k in block)
        ]
        found: list[Structure | Exception] = [*parser.parse_structures(primitive=False)]
        if len(found) < len(with_atoms):  # pymatgen leaves out the blocks that it cannot read, and warns
            blocks = CifFile.from_str(text).data
            found = [_of_block(blocks[name]) for name in with_atoms]
    for index, structure in enumerate(found):
        yield (str(index) if len(found) > 1 else ""), structure, {}


def _of_block(block: Any) -> Structure | Exception:
    from pymatgen.io.cif import CifParser

    try:
        return CifParser(io.StringIO(str(block))).parse_structures(primitive=False, on_error="raise")[0]
    except Exception as err:  # whatever pymatgen raises
        return err


def parse_poscar(path: Path) -> Iterator[Entry]:
    """The structure of a POSCAR or CONTCAR."""
    from pymatgen.io.vasp.inputs import Poscar

    yield "", Poscar.from_str(_text(path), default_names=None).structure, {}


def parse_xyz(path: Path) -> Iterator[Entry]:
    """The frames of an (extended) XYZ file."""
    from ase.io import iread

    with zopen(path, mode="rt", encoding=_UTF8) as lines:
        for index, atoms in enumerate(iread(lines, index=":", format="extxyz")):
            yield str(index), atoms, atoms_labels(atoms)


def parse_json(path: Path) -> Iterator[Entry]:
    """A structure, a row, or a list of either."""
    content = json.loads(_text(path))
    if not isinstance(content, list):
        yield row_entry(content, "")
        return
    for index, item in enumerate(content):
        yield row_entry(item, str(index))


def parse_jsonl(path: Path) -> Iterator[Entry]:
    """One structure or row per line."""
    with zopen(path, mode="rt", encoding=_UTF8) as lines:
        for index, line in enumerate(line for line in lines if line.strip()):
            try:
                row = json.loads(line)
            except ValueError as err:
                yield str(index), err, {}
                continue
            yield row_entry(row, str(index))


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


def atoms_labels(atoms: Atoms) -> dict[str, Any]:
    """Labels that ASE atoms carry: finished results of their calculator and scalars of ``atoms.info``.

    Returns:
        ``energy`` in eV, ``forces`` ``(N, 3)`` in eV/Å, ``stress`` ``(3, 3)`` in eV/Å³ (positive: under tension); then
        the scalars. Nothing is calculated anew.
    """
    from ase.calculators.calculator import PropertyNotImplementedError
    from ase.stress import voigt_6_to_full_3x3_stress

    scalars = (str, bool, int, float, np.generic)
    labels: dict[str, Any] = {k: v for k, v in atoms.info.items() if isinstance(v, scalars)}
    for name in ("energy", "forces", "stress") if atoms.calc is not None else ():
        try:
            value = atoms.calc.get_property(name, atoms, allow_calculation=False)
        except PropertyNotImplementedError:
            continue
        if value is not None:
            labels[name] = float(value) if name == "energy" else np.array(value, dtype=float)
    if np.shape(labels.get("stress", 0.0)) == (6,):
        labels["stress"] = voigt_6_to_full_3x3_stress(labels["stress"])
    return labels


def row_entry(row: Any, key: str) -> Entry:
    """A pymatgen structure as a dict, or a row: labels beside ``structure`` (a dict or its JSON text) or our columns.

    Values that are neither numbers, text nor lists of numbers are left out.
    """
    try:
        return key, _row_structure(row), _row_labels(row)
    except Exception as err:  # whatever a stranger's dict makes pymatgen raise
        return key, err, {}


def _row_structure(row: Any) -> Crystal | Structure:
    if isinstance(row, Mapping) and "structure" in row:
        content = row["structure"]
        return Structure.from_dict(json.loads(content) if isinstance(content, str) else content)
    if isinstance(row, Mapping) and all(name in row for name in STRUCTURE_COLUMNS):
        numbers, coords, lattice = (np.array(row[name], dtype=float) for name in STRUCTURE_COLUMNS)
        return Crystal(numbers.astype(np.int64), coords.reshape(len(numbers), 3), lattice.reshape(3, 3))
    if isinstance(row, Mapping) and "lattice" in row and "sites" in row:
        return Structure.from_dict(dict(row))
    raise DataError(
        "neither a pymatgen structure (lattice, sites), nor a row with structure or "
        f"{', '.join(STRUCTURE_COLUMNS)}: {str(row)[:80]}"
    )


def _row_labels(row: Mapping[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    if "sites" in row:
        return labels
    for name, value in row.items():
        if name in ("structure", *STRUCTURE_COLUMNS):
            continue
        if isinstance(value, list):
            try:
                labels[name] = np.array(value, dtype=float)
            except (TypeError, ValueError):
                continue
        elif value is None or isinstance(value, (str, bool, int, float)):
            labels[name] = value
    return labels


def _text(path: Path) -> str:
    with zopen(path, mode="rt", encoding=_UTF8) as file:
        return str(file.read())
