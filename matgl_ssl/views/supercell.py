"""Show a random supercell: the same crystal with more atoms."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from matgl_ssl.backends.batch import is_atom_label
from matgl_ssl.crystals.records import Crystal

from .view import View

SIZES = ((1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2))
"""The supercells of Kong et al.'s contrastive variant (arXiv 2211.03563)."""


@dataclass(frozen=True)
class Supercell(View):
    """Repeat the cell by one of ``SIZES``, drawn uniformly among those that are not too large.

    Atoms of one image follow those of the other, and so do their labels; labels of the crystal stay as they are.

    Attributes:
        max_atoms: Atoms that growing must not exceed; a larger crystal stays as it is.
    """

    max_atoms: PositiveInt = 100

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Grow the cell before the graph is built."""
        fitting = [s for s in SIZES if math.prod(s) * len(crystal) <= self.max_atoms] or SIZES[:1]
        repeats = np.array(fitting[rng.integers(len(fitting))])
        images = np.array(list(np.ndindex(*repeats)))
        n = len(images)
        labels = {k: np.concatenate([v] * n) for k, v in crystal.labels.items() if is_atom_label(k) and v is not None}
        return dataclasses.replace(
            crystal,
            numbers=np.tile(crystal.numbers, n),
            frac_coords=((crystal.frac_coords + images[:, None]) / repeats).reshape(-1, 3),
            lattice=crystal.lattice * repeats[:, None],
            labels={**crystal.labels, **labels},
        )
