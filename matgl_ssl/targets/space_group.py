"""A crystal's symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import spglib

from .primitive import PrimitiveCell
from .target import CellTarget

N_SPACE_GROUPS = 230
CRYSTAL_SYSTEMS = {
    "triclinic": 2, "monoclinic": 15, "orthorhombic": 74, "tetragonal": 142, "trigonal": 167, "hexagonal": 194,
    "cubic": 230,
}  # fmt: skip
"""Number of the last space group of each crystal system."""


@dataclass(frozen=True)
class SpaceGroup(CellTarget):
    """International number of the space group, 1 to 230, found by spglib; NaN where it finds none.

    Attributes:
        symprec: Distance tolerance in Å.
        angle_tolerance: Degrees, as pymatgen's ``SpacegroupAnalyzer`` has it.
    """

    name: ClassVar[str] = "space-group"
    level: ClassVar[Literal["crystal"]] = "crystal"

    symprec: float = 0.1
    angle_tolerance: float = 5.0

    @property
    def size(self) -> int:
        """One number."""
        return 1

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(1,)``."""
        arrays: Any = (cell.lattice, cell.frac_coords, cell.numbers)
        try:
            found = spglib.get_symmetry_dataset(arrays, symprec=self.symprec, angle_tolerance=self.angle_tolerance)
        except spglib.SpglibError:
            found = None
        return np.array([np.nan if found is None else float(found.number)])
