"""Hide the element of magnetic sites, and of as many others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from matgl_ssl.backends import MASK, Graph
from matgl_ssl.crystals.records import Crystal

from .mask_atoms import COUNTS, MaskAtoms

MAGNETIC = (*range(23, 30), 44, *range(58, 71), 76, 77, 92, 93, 94)
"""Atomic numbers of V to Cu, Ru, Ce to Yb, Os, Ir, U, Np and Pu, whose sites are taken for magnetic."""
_LABEL = "atom:masked"


@dataclass(frozen=True)
class MaskMagneticSites(MaskAtoms):
    """Mark half of the magnetic sites plus one, and as many others, for the encoder's mask token.

    The magnetic variant of Kong et al. (arXiv 2211.03563; ``util_mag.py`` of
    Harrykjg-physics/self-supervised-atomic-representations): ``n // 2 + 1`` of the n sites with a moment, and as many
    without one, or all of them if there are fewer. Deviation: structures seldom come with moments, so that the element
    says which sites have one (``MAGNETIC``). Of a crystal without such elements ``fraction`` is masked, as elsewhere.
    """

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Choose the sites, while their elements are known."""
        masked = np.zeros(len(crystal), dtype=bool)
        magnetic = np.isin(crystal.numbers, MAGNETIC)
        n = min(int(magnetic.sum()), int(magnetic.sum()) // 2 + 1)
        if n:
            for sites in (np.flatnonzero(magnetic), np.flatnonzero(~magnetic)):
                masked[rng.choice(sites, size=min(n, len(sites)), replace=False)] = True
        else:
            size = COUNTS[self.count](self.fraction, len(crystal), rng)
            masked[rng.choice(len(crystal), size=size, replace=False)] = True
        return dataclasses.replace(crystal, labels={**crystal.labels, _LABEL: masked})

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the mask into ``graph.atom["mask"]``, ``(N,)`` bool."""
        graph.atom[MASK] = torch.from_numpy(np.asarray(graph.labels[_LABEL], dtype=bool))
        graph.labels = {name: value for name, value in graph.labels.items() if name != _LABEL}
        return graph
