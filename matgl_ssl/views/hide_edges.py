"""Hide the length and direction of some edges, which still carry messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from matgl_ssl.arguments import Share
from matgl_ssl.backends import HIDDEN, MASK, Graph

from .edge_pairs import edge_pairs, random_share
from .view import View


@dataclass(frozen=True)
class HideEdges(View):
    """Mark edges whose vector the encoder replaces by one that all hidden edges share.

    Attributes:
        fraction: Share of the undirected edges to hide, both directions together, in (0, 1); None hides the edges
            that touch a masked atom (put ``MaskAtoms`` before this view in a ``Compose``).
    """

    fraction: Share | None = None

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the mark into ``graph.edge["hidden"]``, ``(E,)`` bool."""
        if self.fraction is None:
            graph.edge[HIDDEN] = graph.atom[MASK][graph.edge_index].any(0)
        else:
            pairs = edge_pairs(graph)
            n = len(np.unique(pairs))
            hidden = rng.choice(n, random_share(n, self.fraction, rng), replace=False)
            graph.edge[HIDDEN] = torch.from_numpy(np.isin(pairs, hidden))
        return graph
