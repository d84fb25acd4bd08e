"""Move every atom by a random length in a random direction."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from matgl_ssl.arguments import NotNegative, Positive
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.errors import ConfigError

from .view import View


@dataclass(frozen=True)
class Perturb(View):
    """Move each atom by ``U(min_distance, distance)`` in a direction of its own; the lattice stays.

    The distribution is that of pymatgen's ``Structure.perturb``, which DSSL (0.1 to 0.5 Å) and Crystal Twins (0 to
    0.05 Å) call. The graph is built afterwards. A one-atom cell is only shifted: its graph stays the same.

    Attributes:
        distance: Longest displacement in Å.
        min_distance: Shortest displacement in Å.
    """

    distance: Positive = 0.5
    min_distance: NotNegative = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_distance > self.distance:
            raise ConfigError(
                f"Atoms move by min_distance to distance, which cannot be {self.min_distance!r} to {self.distance!r} Å."
            )

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Move the atoms before the graph is built."""
        direction = rng.normal(size=(len(crystal), 3))
        length = rng.uniform(self.min_distance, self.distance, (len(crystal), 1))
        moves = direction / np.linalg.norm(direction, axis=1, keepdims=True) * length
        return dataclasses.replace(crystal, frac_coords=crystal.frac_coords + moves @ np.linalg.inv(crystal.lattice))
