"""Several views one after the other, as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matgl_ssl.backends import Graph
from matgl_ssl.crystals.records import Crystal

from .view import View


@dataclass(frozen=True)
class Compose(View):
    """Apply views in order, from one random stream.

    Attributes:
        views: The views; their own ``draw`` and ``static`` do not count here.
    """

    views: tuple[View, ...] = ()

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Apply what each does to the crystal."""
        for view in self.views:
            crystal = view.on_crystal(crystal, rng)
        return crystal

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Apply what each does to the graph."""
        for view in self.views:
            graph = view.on_graph(graph, rng)
        return graph
