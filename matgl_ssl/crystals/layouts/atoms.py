"""ASE's files: extended XYZ, and the labels that atoms carry."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from matgl_ssl.crystals.layouts.ase_files import RESULTS
from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

_ASE = {"numbers", "positions", "tags", "momenta", "masses", "initial_magmoms", "initial_charges"}


def parse_xyz(document: Document) -> Iterator[Entry]:
    """The frames of an (extended) XYZ file."""
    from ase.io import read

    for index, frame in enumerate(_frames(document.lines())):
        try:
            atoms = read(io.StringIO(frame), format="extxyz")
        except Exception as err:  # ASE raises whatever it likes
            yield str(index), err, {}
            continue
        yield str(index), atoms, atoms_labels(atoms)


def _frames(lines: Iterator[str]) -> Iterator[str]:
    """The text of each frame: ASE's own reader looks for all of them first, and believes any number of atoms."""
    for header in lines:
        if not header.strip():
            continue
        n_atoms, frame, size = int(header), [header], 0
        while len(frame) < n_atoms + 2:
            line = next(lines, "")
            size += len(line)
            if not line or size > MAX_ENTRY:
                end = "the file ends" if not line else f"{MAX_ENTRY:,} bytes are full"
                raise DataError(f"a frame promises {n_atoms} atoms, but {end} after {len(frame) - 2} of them")
            frame.append(line)
        yield "".join(frame)


def atoms_labels(atoms: Atoms) -> dict[str, Any]:
    """Labels that ASE atoms carry: finished results of their calculator, ``atoms.info``, and arrays of other names.

    Returns:
        Results such as ``energy`` in eV, ``forces`` ``(N, 3)`` in eV/Å, ``stress`` ``(3, 3)`` in eV/Å³ (positive: under
        tension), ``magmoms`` ``(N,)``; then what else is a number, text, or an array of numbers. Nothing is
        calculated again.
    """
    from ase.calculators.calculator import PropertyNotImplementedError
    from ase.stress import voigt_6_to_full_3x3_stress

    own = {name: value for name, value in atoms.arrays.items() if name not in _ASE}
    labels: dict[str, Any] = {name: value for name, value in {**own, **atoms.info}.items() if _is_label(value)}
    for name in RESULTS if atoms.calc is not None else ():
        try:
            value = atoms.calc.get_property(name, atoms, allow_calculation=False)
        except PropertyNotImplementedError:
            continue
        if value is not None:
            labels[name] = float(value) if np.ndim(value) == 0 else np.array(value, dtype=float)
    if np.shape(labels.get("stress", 0.0)) == (6,):
        labels["stress"] = voigt_6_to_full_3x3_stress(labels["stress"])
    return labels


def _is_label(value: Any) -> bool:
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return numbers or isinstance(value, (str, bool, int, float, np.generic))
