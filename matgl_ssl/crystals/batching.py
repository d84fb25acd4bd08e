"""Batches by cost: as many crystals as a number of edges allows, known before any graph is built.

The edges of a crystal are estimated as those of its atoms spread evenly over its cell: off by tens of per cent for one
crystal, by a few for a batch. A slab is taken for less than it is, by its share of vacuum.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from matgl_ssl.crystals.storage import CrystalDataset

_BATCH = 65_536
ORDINARY = 30_000
"""Edges of a batch that are never too many."""


def estimated_edges(crystals: CrystalDataset, cutoff: float) -> np.ndarray:
    """About how many edges the graph of each crystal has.

    Args:
        crystals: The crystals.
        cutoff: Neighbour cutoff in Å.

    Returns:
        Shape ``(len(crystals),)``, int32.
    """
    sizes, volumes = crystals.sizes(), crystals.volumes()
    edges = np.empty(len(crystals), dtype=np.int32)
    for rows in (slice(start, start + _BATCH) for start in range(0, len(edges), _BATCH)):
        density = sizes[rows].astype(float) ** 2 / np.maximum(volumes[rows], 1e-3)
        edges[rows] = np.minimum(np.ceil(density * (4 / 3 * np.pi * cutoff**3)), np.iinfo(np.int32).max)
    return edges


def ordinary_limit(edges: np.ndarray, batch_size: int) -> int:
    """Edges of a batch that only an unusually large cell exceeds: twice those of an average batch, or ``ORDINARY``."""
    return max(ORDINARY, round(2 * batch_size * float(edges.mean()))) if len(edges) else ORDINARY


def batch_bounds(edges: np.ndarray, batch_size: int, max_edges: int) -> np.ndarray:
    """Cut crystals into consecutive batches.

    Args:
        edges: Edges of each crystal, in the order they come in, shape ``(n,)``.
        batch_size: Crystals of a batch at most.
        max_edges: Edges of a batch at most; a crystal with more makes a batch of its own.

    Returns:
        Where each batch begins, and ``n``.
    """
    filled = np.zeros(len(edges) + 1, dtype=np.int64)
    np.cumsum(edges, out=filled[1:])
    bounds = [0]
    while (start := bounds[-1]) < len(edges):
        full = int(np.searchsorted(filled, filled[start] + max_edges, side="right")) - 1
        bounds.append(min(max(full, start + 1), start + batch_size, len(edges)))
    return np.array(bounds)


def consecutive_batches(crystals: CrystalDataset, batch_size: int, cutoff: float) -> list[range]:
    """Rows of batches in order, none with more edges than its data call for (``ordinary_limit``)."""
    edges = estimated_edges(crystals, cutoff)
    bounds = batch_bounds(edges, batch_size, ordinary_limit(edges, batch_size)).tolist()
    return [range(start, stop) for start, stop in pairwise(bounds)]
