"""How near an atom's neighbours are, and how many they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.records import Crystal

from .neighbours import find_neighbours
from .target import Target


@dataclass(frozen=True)
class Coordination(Target):
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

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it, ``(N, 2)``."""
        pairs = find_neighbours(crystal, 2 * self.reach)
        nearest = pairs.nearest()
        pairs = pairs.where(pairs.distance < 2 * nearest[pairs.center])  # further ones weigh less than 1e-8
        alone = ~(nearest <= self.reach)
        mean = np.where(alone, 1.0, nearest)
        for _ in range(100):
            weight = np.exp(1 - (pairs.distance / mean[pairs.center]) ** 6)
            number, length = pairs.total(np.stack([weight, weight * pairs.distance], axis=1)).T
            before, mean = mean, np.where(alone, 1.0, length / np.where(alone, 1.0, number))
            if np.abs(mean - before).max() < 1e-8:
                break
        return np.where(alone[:, None], np.nan, np.stack([nearest, number], axis=1))
