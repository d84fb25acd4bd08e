"""Sums over a crystal's translations: the k-points of its Brillouin zone, and matrices at them."""

from __future__ import annotations

import itertools

import numpy as np

from .neighbours import Neighbours

LARGEST = 80
"""Atoms of the largest cell whose matrices are worth diagonalising, which takes time with their cube."""

_SPAN = 12.0  # Å: as many k-points along an axis as it takes cells to be as long as that


def mesh(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k-points around the zone's centre, one of k and -k.

    Args:
        lattice: Lattice vectors in Å, one a row.

    Returns:
        The points in units of the reciprocal cell, shape ``(K, 3)``, and their weights, ``(K,)``, whose sum is 1.
    """
    counts = [max(1, round(_SPAN / length)) for length in np.linalg.norm(lattice, axis=1)]
    steps = np.array(list(itertools.product(*map(range, counts))))
    opposite = -steps % counts
    first = [tuple(step) <= tuple(other) for step, other in zip(steps, opposite, strict=True)]
    weights = np.where((steps == opposite).all(1), 1.0, 2.0)[first]
    return steps[first] / counts, weights / weights.sum()


def bloch_sums(pairs: Neighbours, blocks: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Matrices between the cell's atoms at some k-points, from blocks between neighbours.

    Args:
        pairs: All neighbours; what is summed lies between a centre and its neighbour.
        blocks: One of each pair, shape ``(P, b, b)``.
        points: In units of the reciprocal cell, ``(K, 3)``.

    Returns:
        Shape ``(K, N b, N b)``; real where all points are at the zone's centre or edge.
    """
    n, b = pairs.n_atoms, blocks.shape[-1]
    phases = np.exp(2j * np.pi * points @ pairs.image.T)
    if not (2 * points % 1).any():
        phases = phases.real
    sums = np.zeros((len(points), n, n, b, b), phases.dtype)
    for matrix, phase in zip(sums, phases, strict=True):
        np.add.at(matrix, (pairs.center, pairs.other), blocks * phase[:, None, None])
    return sums.transpose(0, 1, 3, 2, 4).reshape(len(points), n * b, n * b)
