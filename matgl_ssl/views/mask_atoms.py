"""Hide the element of some atoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from matgl_ssl.arguments import Share
from matgl_ssl.backends import MASK, Graph

from .edge_pairs import random_share
from .view import View

MaskCount = Literal["dssl", "crystal-twins", "unbiased"]

COUNTS: dict[MaskCount, Callable[[float, int, np.random.Generator], int]] = {
    "dssl": lambda fraction, n, rng: min(n, int(fraction * n + 1)),
    "crystal-twins": lambda fraction, n, rng: max(1, int(fraction * n)),
    "unbiased": lambda fraction, n, rng: min(n - 1, random_share(n, fraction, rng)),
}


@dataclass(frozen=True)
class MaskAtoms(View):
    """Mark some atoms, drawn without replacement, for the encoder's mask token.

    Attributes:
        fraction: Share of the atoms to hide, in (0, 1).
        count: How many of N that is. ``"dssl"``: ``int(fraction * N + 1)``, that of DSSL (usccolumbia/DSSL) and of
            Kong et al. (arXiv 2211.03563). ``"crystal-twins"``: ``max(1, int(fraction * N))``
            (RishikeshMagar/Crystal-Twins). Both hide at least one atom, and so the whole of a one-atom cell.
            ``"unbiased"``: ``floor(fraction * N + U(0, 1))``, right on average and never more than N - 1.
    """

    fraction: Share = 0.15
    count: MaskCount = "dssl"

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the mask into ``graph.atom["mask"]``, ``(N,)`` bool."""
        n = len(graph.node_type)
        mask = np.zeros(n, dtype=bool)
        mask[rng.choice(n, size=COUNTS[self.count](self.fraction, n, rng), replace=False)] = True
        graph.atom[MASK] = torch.from_numpy(mask)
        return graph
