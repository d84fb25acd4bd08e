"""Write down standard normal numbers for a pretext that samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import NonNegativeInt

from matgl_ssl.backends import NORMAL, Graph

from .view import View


@dataclass(frozen=True)
class DrawNormal(View):
    """The crystal as it is, with numbers from N(0, 1): what a pretext samples with belongs to the crystal, not to the
    batch it happens to be in.

    Attributes:
        per_atom: Numbers for each atom.
        per_crystal: Numbers for the crystal.
    """

    per_atom: NonNegativeInt = 0
    per_crystal: NonNegativeInt = 0

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the numbers into ``graph.atom`` and ``graph.labels``."""
        if self.per_atom:
            numbers = rng.standard_normal((len(graph.node_type), self.per_atom))
            graph.atom[NORMAL] = torch.from_numpy(numbers).to(graph.frac_coords)
        if self.per_crystal:
            graph.labels = {**graph.labels, NORMAL: rng.standard_normal(self.per_crystal)}
        return graph
