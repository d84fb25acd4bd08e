"""The k-points of a crystal's Brillouin zone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .primitive import PrimitiveCell, shortest_basis

_SPAN = 10.43141592  # Å: as many k-points along an axis as it takes lattice planes to be as far apart; no round number
_TIE = 1e-4  # relative


def mesh(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k-points around the zone's centre, which belong to the lattice and not to the vectors that describe it.

    The shortest reciprocal vectors say how many points an axis needs. Axes that need equally many are divided alike,
    which no choice of vectors changes. Other axes are divided at right angles to those that need fewer; of equivalent
    points the nearest to the centre is taken, and several that are equally near share its weight.

    Args:
        lattice: Lattice vectors in Å, one a row.

    Returns:
        The points as phases of the lattice vectors in turns, shape ``(K, 3)``, and their weights, ``(K,)``, whose sum
        is 1.
    """
    basis = shortest_basis(np.linalg.inv(lattice).T)
    counts = np.maximum(1, np.rint(_SPAN * np.linalg.norm(basis, axis=1))).astype(int)
    points, weights, before = np.zeros((1, 3)), np.ones(1), np.zeros((0, 3))
    for count in sorted(set(counts.tolist())):
        axes = basis[counts == count]
        axes -= axes @ before.T @ before
        steps = _grid(range(count), len(axes)) / count
        own, shares = steps @ axes, np.full(len(steps), 1 / len(steps))
        if len(before) and count > 1:
            own = (steps[:, None] + _grid(range(-2, 2), len(axes))) @ axes
            square = (own**2).sum(axis=2)
            nearest = square <= (1 + _TIE) * square.min(axis=1, keepdims=True)
            shares = np.repeat(shares / nearest.sum(axis=1), nearest.sum(axis=1))
            own = own[nearest]
        points = (points[:, None] + own).reshape(-1, 3)
        weights = np.outer(weights, shares).ravel()
        if count < counts[-1]:
            before = np.vstack([before, np.linalg.qr(axes.T)[0].T])
    return np.round(points @ lattice.T, 12), weights


@lru_cache(maxsize=64)
def _grid(steps: Sequence[int], dimensions: int) -> np.ndarray:
    return np.array(list(itertools.product(steps, repeat=dimensions)))


@lru_cache(maxsize=2)
def irreducible_mesh(cell: PrimitiveCell) -> tuple[np.ndarray, np.ndarray]:
    """One k-point of each star of the mesh, k and -k being of one. See ``mesh``."""
    points, weights = mesh(cell.lattice)
    grid = 720720  # a multiple of all numbers up to 16
    turned = np.rint(grid * (points @ cell.rotations.transpose(0, 2, 1))).astype(int)
    both = np.stack([turned, -turned]) % grid @ (grid ** np.arange(3))
    _, first, star = np.unique(both.min(axis=(0, 1)), return_index=True, return_inverse=True)
    return points[first], np.bincount(star.ravel(), weights)
