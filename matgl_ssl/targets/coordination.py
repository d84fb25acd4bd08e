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
    size: ClassVar[int] = 2

    reach: float = 4.0

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 2)``."""
        pairs = find_neighbours(cell, max(self.reach, 6.0))
        nearest = pairs.nearest()
        alone = ~(nearest <= self.reach + _HAIR)
        far = _REACH * nearest
        pairs = find_neighbours(cell, max(6.0, far[~alone].max(initial=0.0)))
        orbit = cell.images.min(axis=0)  # one atom stands for all that symmetry makes equal
        counts = (orbit == np.arange(len(cell))) & ~alone
        near = counts[pairs.center] & (pairs.distance < far[pairs.center])
        center, distance = (np.cumsum(counts) - 1)[pairs.center[near]], pairs.distance[near]
        sixth, mean = distance**6, nearest[counts]
        number = np.full(len(cell), np.nan)
        for _ in range(100):
            weight = np.exp(1 - sixth / (mean**6)[center])
            total = np.bincount(center, weight)
            before, mean = mean, np.bincount(center, weight * distance) / total
            if np.abs(mean - before).max(initial=0.0) < 1e-9:
                break
        number[counts] = total
        return np.where(alone[:, None], np.nan, np.stack([nearest, number[orbit]], axis=1))
