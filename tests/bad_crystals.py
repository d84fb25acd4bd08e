"""Crystals that no model can be trusted with, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_systems import cscl, nacl, skewed

from matgl_ssl.crystals import Crystal, CrystalDataset

CELL = 4.0 * np.eye(3)
PAIR = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
DISORDERED = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na Na1 0 0 0 0.5
H H1 0 0 0 0.5
Cl Cl1 0.5 0.5 0.5 1
"""
CRYSTALS = {
    "nan": Crystal(np.array([11, 17]), np.array([[0.0, 0, np.nan], [0.5, 0.5, 0.5]]), CELL, id="nan"),
    "coincident": Crystal(np.array([11, 17]), np.array([[0.0, 0, 0], [0.0, 0, 1.0]]), CELL, id="coincident"),
    "no-edges": Crystal(np.array([11]), np.zeros((1, 3)), 30 * np.eye(3), id="no-edges"),
    "unknown-element": Crystal(np.array([11, 79]), PAIR, CELL, id="unknown-element"),
}
BAD = {
    "nan": "nan: .*NaN",
    "coincident": "coincident: two atoms 0.000 Å apart",
    "no-edges": "no-edges: no atom has a neighbour",
    "unknown-element": "unknown-element: Au unknown to the model",
    "disordered": "disordered",
    "empty": "empty",
}
"""What the one error of each bad file says."""


def write_bad(kind: str, folder: Path) -> Path:
    """A file of one bad crystal, of a kind in ``BAD``."""
    if kind == "disordered":
        path = folder / "disordered.cif"
        path.write_text(DISORDERED)
    elif kind == "empty":
        path = folder / "empty.cif"
        path.touch()
    else:
        path = CrystalDataset.from_crystals([CRYSTALS[kind]]).write_parquet(folder / f"{kind}.parquet")
    return path


def write_mixed(folder: Path) -> Path:
    """A table of three good crystals among three bad ones."""
    rows = [nacl(), CRYSTALS["nan"], cscl(), CRYSTALS["coincident"], CRYSTALS["unknown-element"], skewed()]
    return CrystalDataset.from_crystals(rows).write_parquet(folder / "mixed.parquet")
