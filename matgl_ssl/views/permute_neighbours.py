"""Mix up which neighbour of an atom is where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from matgl_ssl.backends import EDGE_VECTOR, Graph, collate

from .view import View


@dataclass(frozen=True)
class PermuteNeighbours(View):
    """Permute the vectors of each atom's edges among its neighbours.

    Every atom keeps its neighbours and the shape of its surroundings, but who sits where is random. Nothing changes
    for an atom whose neighbours are all alike.
    """

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the permuted vectors into ``graph.edge["vector"]``, which the encoder sees instead."""
        source = graph.edge_index[0].numpy()
        grouped = np.argsort(source, kind="stable")
        shuffled = np.lexsort((rng.random(len(source)), source))
        before = collate([graph]).edge_vectors()
        vectors = torch.empty_like(before)
        vectors[torch.from_numpy(grouped)] = before[torch.from_numpy(shuffled)]
        graph.edge[EDGE_VECTOR] = vectors
        return graph
