"""Pairs of neighbours, periodic images included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from pymatgen.optimization.neighbors import find_points_in_spheres

from matgl_ssl.crystals.records import Crystal

_SHARED = 6.0  # Å: one list serves all targets that look no further
_PBC = np.ones(3, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """All pairs within a cutoff, ordered by their centre.

    Attributes:
        n_atoms: Atoms in the cell.
        center: Centre of each pair, shape ``(P,)``.
        other: The neighbour's atom in the cell, shape ``(P,)``.
        distance: Å, shape ``(P,)``.
        vector: From the centre to the neighbour in Å, shape ``(P, 3)``.
        image: The neighbour's cell, in lattice vectors from the coordinates as they are given, shape ``(P, 3)``.
    """

    n_atoms: int
    center: np.ndarray
    other: np.ndarray
    distance: np.ndarray
    vector: np.ndarray
    image: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """Neighbours of each atom, shape ``(N,)``."""
        return np.bincount(self.center, minlength=self.n_atoms)

    def where(self, keep: np.ndarray) -> Neighbours:
        """Some of the pairs, shape ``(P,)`` bool."""
        arrays = (self.center, self.other, self.distance, self.vector, self.image)
        return Neighbours(self.n_atoms, *(array[keep] for array in arrays))

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum the pairs' values ``(P, ...)`` over each atom's neighbours: ``(N, ...)``."""
        return self._over_neighbours(np.add, values, 0.0)

    def nearest(self) -> np.ndarray:
        """Distance of each atom's nearest neighbour in Å, shape ``(N,)``; infinite where there is none."""
        return self._over_neighbours(np.minimum, self.distance, np.inf)

    def _over_neighbours(self, ufunc: np.ufunc, values: np.ndarray, empty: float) -> np.ndarray:
        result = np.full((self.n_atoms, *values.shape[1:]), empty)
        some, starts = self._starts
        if len(starts):
            result[some] = ufunc.reduceat(values, starts, axis=0)
        return result

    @cached_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Atoms with neighbours, and the first pair of each."""
        some = np.flatnonzero(self.counts)
        return some, (np.cumsum(self.counts) - self.counts)[some]


def find_neighbours(crystal: Crystal, cutoff: float) -> Neighbours:
    """Every pair of atoms closer than ``cutoff`` Å, an atom and its own images included."""
    if cutoff > _SHARED:
        return _find(crystal, cutoff)
    pairs = _find(crystal, _SHARED)
    return pairs if cutoff == _SHARED else pairs.where(pairs.distance < cutoff)


@lru_cache(maxsize=2)
def _find(crystal: Crystal, cutoff: float) -> Neighbours:
    coords, lattice = np.ascontiguousarray(crystal.cart_coords), np.ascontiguousarray(crystal.lattice)
    center, other, image, distance = find_points_in_spheres(
        coords, coords, r=float(cutoff), pbc=_PBC, lattice=lattice, tol=1e-8
    )
    pairs = np.flatnonzero((center != other) | (distance > 1e-8))
    pairs = pairs[np.argsort(center[pairs], kind="stable")]
    center, other, image, distance = center[pairs], other[pairs], image[pairs], distance[pairs]
    vector = coords[other] + image @ lattice - coords[center]
    return Neighbours(len(crystal), center, other, distance, vector, image)


def cosine_cutoff(distance: np.ndarray, cutoff: float) -> np.ndarray:
    """Behler's cutoff function: 1 at the centre, 0 with zero slope at the cutoff."""
    return np.where(distance < cutoff, 0.5 * (np.cos(np.pi * distance / cutoff) + 1), 0.0)
