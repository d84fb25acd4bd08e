"""Under which angles an atom sees its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import standardised_element_table

from .neighbours import cosine_cutoff, find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget


@dataclass(frozen=True)
class AngularFingerprint(CellTarget):
    """Element-property weighted angular symmetry functions, over pairs of neighbours of an atom.

    sum_{j<k} p(Z_j) p(Z_k) 2^(1-zeta) (1 ± cos theta_jik)^zeta exp(-eta (r_ij² + r_ik²)) fc(r_ij) fc(r_ik): Behler's
    G5, which is G4 without the third side (J. Chem. Phys. 2011, 134, 074106), with the weights of Gastegger et al.
    (J. Chem. Phys. 2018, 148, 241709), here standardised elemental properties.

    Attributes:
        properties: Weights p, one block of columns each; see ``PROPERTIES``.
        cutoff: Å. The cost grows with its sixth power.
        zetas: Exponents, both signs each.
        eta: 1/Å².
    """

    name: ClassVar[str] = "angular-fingerprint"
    level: ClassVar[Literal["atom"]] = "atom"

    properties: tuple[str, ...] = ("one", "electronegativity", "covalent-radius")
    cutoff: float = 4.0
    zetas: tuple[int, ...] = (1, 2, 4, 16)
    eta: float = 0.05

    @property
    def size(self) -> int:
        """Properties times exponents times two signs."""
        return len(self.properties) * len(self.zetas) * 2

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, size)``; NaN in the columns of a property that a neighbour lacks."""
        pairs = find_neighbours(cell, self.cutoff)
        radial = np.exp(-self.eta * pairs.distance**2) * cosine_cutoff(pairs.distance, self.cutoff)
        weight = standardised_element_table(self.properties)[cell.numbers[pairs.other]] * radial[:, None]
        unit = pairs.vector / pairs.distance[:, None]
        result = np.empty((len(cell), self.size))
        # Atoms with equally many neighbours at once, so that their pairs are dense arrays.
        counts = pairs.counts
        first = np.cumsum(counts) - counts
        for count in np.unique(counts):
            atoms = np.flatnonzero(counts == count)
            rows = first[atoms][:, None] + np.arange(count)
            result[atoms] = self._of_dense(unit[rows], weight[rows])
        return result

    def _of_dense(self, unit: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Unit vectors ``(A, M, 3)`` and weights ``(A, M, properties)`` of M neighbours: ``(A, size)``."""
        cosine = np.clip(unit @ unit.transpose(0, 2, 1), -1, 1)
        columns = []
        for sign in (1, -1):
            for zeta in self.zetas:
                angular = 2.0 ** (1 - zeta) * (1 + sign * cosine) ** zeta
                angular[:, range(unit.shape[1]), range(unit.shape[1])] = 0  # no neighbour with itself
                columns.append(0.5 * (weight * (angular @ weight)).sum(axis=1))
        return np.stack(columns, axis=2).reshape(len(unit), self.size)
