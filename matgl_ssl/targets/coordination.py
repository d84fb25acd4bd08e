"""How near an atom's neighbours are, and how many they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .neighbours import find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

_HAIR = 1e-6  # Å: no rounding moves an atom across a round number
_REACH = 1.8  # in distances of the nearest neighbour; further ones weigh less than 1e-14


@dataclass(frozen=True)
class Coordination(CellTarget):
    """Distance of the nearest neighbour in Å, and Hoppe's effective coordination number.

    ECoN = sum_j exp(1 - (r_ij / r)^6), where r is the mean distance under the same weights, iterated to
    self-consistency (Hoppe, Z. Kristallogr. 1979, 150, 23). It needs no radii and is smooth in the positions.

    Attributes:
        reach: An atom whose nearest neighbour is further away, in Å, has none (NaN): there are no bonds to count.
    """

    name: ClassVar[str] = "coordination"
    level: ClassVar[Literal["atom"]] = "atom"

    reach: float = 4.0

    @property
    def size(self) -> int:
        """A distance and a number."""
        return 2

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 2)``."""
        pairs = find_neighbours(cell, max(self.reach, 6.0))
        nearest = pairs.nearest()
        alone = ~(nearest <= self.reach + _HAIR)
        far = _REACH * nearest
        pairs = find_neighbours(cell, max(6.0, far[~alone].max(initial=0.0)))
        orbit = cell.images.min(axis=0)  # one atom stands for all that symmetry makes equal
        center = pairs.center
        pairs = pairs.where((pairs.distance < far[center]) & (orbit == np.arange(len(cell)))[center] & ~alone[center])

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(pairs.center, values, minlength=len(cell))

        mean = nearest
        for _ in range(100):
            weight = np.exp(1 - (pairs.distance / mean[pairs.center]) ** 6)
            number = total(weight)
            step = total(weight * pairs.distance) / np.where(number > 0, number, 1.0) - mean
            mean = mean + step
            if np.abs(step[number > 0]).max(initial=0.0) < 1e-9:
                break
        return np.where(alone[:, None], np.nan, np.stack([nearest, number[orbit]], axis=1))
