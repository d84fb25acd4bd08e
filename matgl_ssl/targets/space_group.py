"""A crystal's symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import spglib

from .neighbours import cosine_cutoff, find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

N_SPACE_GROUPS = 230
CRYSTAL_SYSTEMS = {
    "triclinic": 2, "monoclinic": 15, "orthorhombic": 74, "tetragonal": 142, "trigonal": 167, "hexagonal": 194,
    "cubic": 230,
}  # fmt: skip
"""Number of the last space group of each crystal system."""
_UNHANDED = {
    78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212,
}  # fmt: skip
_NEAR = 6.0  # Å


@dataclass(frozen=True)
class SpaceGroup(CellTarget):
    """International number of the space group, 1 to 230, found by spglib; NaN where it finds none.

    Of the eleven pairs of groups that are mirror images, both have the smaller number: a crystal and its mirror image
    have the same distances and angles, which is all that a graph network sees.

    Attributes:
        symprec: Distance tolerance in Å.
        angle_tolerance: Degrees, as pymatgen's ``SpacegroupAnalyzer`` has it.
    """

    name: ClassVar[str] = "space-group"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 1

    symprec: float = 0.1
    angle_tolerance: float = 5.0

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(1,)``."""
        pairs = find_neighbours(cell, _NEAR)  # near the tolerance, what spglib finds depends on the order of the atoms
        around = pairs.total(cell.numbers[pairs.other] * cosine_cutoff(pairs.distance, _NEAR))
        order = np.lexsort([around, cell.numbers])
        arrays: Any = (cell.lattice, cell.frac_coords[order] - cell.frac_coords[order[0]], cell.numbers[order])
        try:
            found = spglib.get_symmetry_dataset(arrays, symprec=self.symprec, angle_tolerance=self.angle_tolerance)
        except spglib.SpglibError:
            found = None
        return np.array([np.nan if found is None else float(_UNHANDED.get(found.number, found.number))])
