"""The two directions of an edge: ``(i, j, offset)`` and ``(j, i, -offset)`` are one bond."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from matgl_ssl.backends import Graph, collate


def one_direction(edge_index: Tensor, pbc_offset: Tensor) -> Tensor:
    """Mark one of the two directions of every undirected edge.

    Args:
        edge_index: Shape ``(2, E)``.
        pbc_offset: Shape ``(E, 3)``.

    Returns:
        Shape ``(E,)``, bool: true from the lower to the higher atom; between images of one atom, where the first
        component of the offset that is not zero is positive.
    """
    source, destination = edge_index
    sign = (pbc_offset.sign() * pbc_offset.new_tensor([4.0, 2.0, 1.0])).sum(1)
    return (source < destination) | ((source == destination) & (sign > 0))


def edge_pairs(graph: Graph) -> np.ndarray:
    """Number of the undirected edge that each edge belongs to, ``(E,)``, from 0 without gaps."""
    if graph.edge_index.shape[1] == 0:
        return np.zeros(0, dtype=np.int64)
    forward = one_direction(graph.edge_index, graph.pbc_offset)[:, None]
    offset = graph.pbc_offset.round().long()
    ends = torch.where(forward, graph.edge_index.T, graph.edge_index.T.flip(1))
    rows = torch.cat([ends, torch.where(forward, offset, -offset)], dim=1).numpy()
    rows -= rows.min(0)
    _, pairs = np.unique(np.ravel_multi_index(tuple(rows.T), tuple(rows.max(0) + 1)), return_inverse=True)
    return pairs


def nearest_edges(graph: Graph) -> np.ndarray:
    """The shortest edge of each atom that has any, as positions in the list of edges."""
    lengths = collate([graph]).edge_vectors().norm(dim=1).numpy()
    source = graph.edge_index[0].numpy()
    order = np.lexsort((lengths, source))
    _, first = np.unique(source[order], return_index=True)
    return order[first]


def random_share(n: int, fraction: float, rng: np.random.Generator) -> int:
    """``fraction * n`` as a whole number that is right on average: ``floor(fraction * n + U(0, 1))``."""
    return int(fraction * n + rng.random())
