"""What surrounds an atom at which distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import standardised_element_table

from .neighbours import cosine_cutoff, find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget


@dataclass(frozen=True)
class RadialFingerprint(CellTarget):
    """Element-property weighted radial symmetry functions: sum_j p(Z_j) exp(-eta (r_ij - R)²) fc(r_ij).

    Behler's G2 (J. Chem. Phys. 2011, 134, 074106) with the weights of Gastegger et al. (J. Chem. Phys. 2018, 148,
    241709), here standardised elemental properties. The atom's own element does not enter, but through its images.

    Attributes:
        properties: Weights p, one block of columns each; see ``PROPERTIES``.
        cutoff: Å.
        radii: Centres R in Å.
        eta: 1/Å².
    """

    name: ClassVar[str] = "radial-fingerprint"
    level: ClassVar[Literal["atom"]] = "atom"

    properties: tuple[str, ...] = ("one", "electronegativity", "covalent-radius", "group", "period")
    cutoff: float = 5.0
    radii: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
    eta: float = 4.0

    @property
    def size(self) -> int:
        """Properties times radii."""
        return len(self.properties) * len(self.radii)

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, size)``; NaN in the columns of a property that a neighbour lacks."""
        pairs = find_neighbours(cell, self.cutoff)
        weight = standardised_element_table(self.properties)[cell.numbers[pairs.other]]
        shell = np.exp(-self.eta * (pairs.distance[:, None] - np.array(self.radii)) ** 2)
        shell *= cosine_cutoff(pairs.distance, self.cutoff)[:, None]
        return pairs.total((weight[:, :, None] * shell[:, None, :]).reshape(-1, self.size))
