"""Move every atom by Gaussian noise, and write the noise down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from matgl_ssl.arguments import Positive
from matgl_ssl.backends import NOISE, Graph
from matgl_ssl.crystals.records import Crystal

from .view import View


@dataclass(frozen=True)
class DisplaceAtoms(View):
    """Add ``N(0, sigma²)`` to each Cartesian coordinate of each atom; the lattice stays.

    Attributes:
        sigma: Standard deviation in Å.
        topology: ``"rebuild"`` builds the graph of the displaced crystal (as Fung-Lab/MatDeepLearn_dev,
            ``pretraining_with_forces``); ``"clean"`` keeps the edges of the crystal at rest, which is cheaper to reuse.
    """

    sigma: Positive = 0.1
    topology: Literal["rebuild", "clean"] = "rebuild"

    def _noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, self.sigma, (n, 3))

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Displace before the graph is built."""
        if self.topology == "clean":
            return crystal
        noise = self._noise(len(crystal), rng)
        moved = crystal.frac_coords + noise @ np.linalg.inv(crystal.lattice)
        return dataclasses.replace(crystal, frac_coords=moved, labels={**crystal.labels, NOISE: noise})

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the noise into ``graph.atom["noise"]``; displace now if the graph is that of the crystal at rest."""
        if self.topology == "clean":
            noise = self._noise(len(graph.node_type), rng)
            inverse = np.linalg.inv(graph.lattice.double().numpy())
            graph.frac_coords = graph.frac_coords + torch.from_numpy(noise @ inverse).to(graph.frac_coords)
        else:
            noise = graph.labels[NOISE]
            graph.labels = {k: v for k, v in graph.labels.items() if k != NOISE}
        graph.atom[NOISE] = torch.from_numpy(noise).to(graph.frac_coords)
        return graph
