"""Take some edges out of the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from matgl_ssl.arguments import Share
from matgl_ssl.backends import Graph

from .edge_pairs import edge_pairs, nearest_edges, random_share
from .view import View


@dataclass(frozen=True)
class DropEdges(View):
    """Remove a share of the undirected edges, both directions together; every atom keeps its nearest neighbour.

    Crystal Twins' edge masking (10 %; its code keeps 11 of each atom's 12 neighbours, direction by direction).

    Attributes:
        fraction: Share of the undirected edges to remove, in (0, 1).
    """

    fraction: Share = 0.1

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Remove edges, and what views wrote down about them; the order of the others stays."""
        pairs = edge_pairs(graph)
        n = len(np.unique(pairs))
        free = np.setdiff1d(np.arange(n), pairs[nearest_edges(graph)])
        dropped = rng.choice(free, min(len(free), random_share(n, self.fraction, rng)), replace=False)
        keep = torch.from_numpy(~np.isin(pairs, dropped))
        graph.edge_index = graph.edge_index[:, keep]
        graph.pbc_offset = graph.pbc_offset[keep]
        graph.edge = {name: values[keep] for name, values in graph.edge.items()}
        return graph
