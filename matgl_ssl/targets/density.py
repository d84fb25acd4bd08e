"""How densely a crystal is packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import element_table

from .primitive import PrimitiveCell
from .target import CellTarget

_U_PER_A3 = 1.66053906660
"""g/cm³ in an atomic mass unit per Å³."""


@dataclass(frozen=True)
class Density(CellTarget):
    """Mass density in g/cm³, volume per atom in Å³, and the share of the cell that spheres of covalent radius fill."""

    name: ClassVar[str] = "density"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 3

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(3,)``."""
        mass, radius = element_table(("mass", "covalent-radius"))[cell.numbers].T
        volume = cell.volume
        spheres = 4 / 3 * np.pi * (radius**3).sum()
        return np.array([mass.sum() * _U_PER_A3 / volume, volume / len(cell), spheres / volume])
