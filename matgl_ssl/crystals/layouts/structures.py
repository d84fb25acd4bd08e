"""Structure files: CIF, POSCAR and (extended) XYZ."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monty.io import zopen
from pymatgen.core import Structure

from matgl_ssl.crystals.layouts.entries import UTF8, Entry, text_of

if TYPE_CHECKING:
    from ase import Atoms


def parse_cif(path: Path) -> Iterator[Entry]:
    """The structures of a CIF, in the cell the file describes."""
    from pymatgen.io.cif import CifFile, CifParser

    text = text_of(path)
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

    yield "", Poscar.from_str(text_of(path), default_names=None).structure, {}


def parse_xyz(path: Path) -> Iterator[Entry]:
    """The frames of an (extended) XYZ file."""
    from ase.io import iread

    with zopen(path, mode="rt", encoding=UTF8) as lines:
        for index, atoms in enumerate(iread(lines, index=":", format="extxyz")):
            yield str(index), atoms, atoms_labels(atoms)


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
