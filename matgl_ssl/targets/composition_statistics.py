"""What a crystal is made of, as statistics of elemental properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import element_table

from .primitive import PrimitiveCell
from .target import CellTarget

# Nothing measured on solids (densities, elastic constants): those are close kin of what a benchmark may ask for.
FREE_ATOMS = (
    "electronegativity", "covalent-radius", "mass", "group", "period", "mendeleev-number", "ionization-energy",
    "electron-affinity",
)  # fmt: skip


@dataclass(frozen=True)
class CompositionStatistics(CellTarget):
    """Mean, range and standard deviation of elemental properties over the atoms (in the spirit of Ward et al., 2016).

    Attributes:
        properties: See ``PROPERTIES``.
    """

    name: ClassVar[str] = "composition"
    level: ClassVar[Literal["crystal"]] = "crystal"

    properties: tuple[str, ...] = FREE_ATOMS

    @property
    def size(self) -> int:
        """Three a property."""
        return 3 * len(self.properties)

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(size,)``: all means, then all ranges, then all deviations; NaN where an element lacks one."""
        values = element_table(self.properties)[cell.numbers]
        return np.concatenate([values.mean(0), np.ptp(values, axis=0), values.std(0)])
