"""Hide the element of some atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from matgl_ssl.backends import Graph
from matgl_ssl.encoders import MASK
from matgl_ssl.errors import ConfigError

from .view import View


@dataclass(frozen=True)
class MaskAtoms(View):
    """Mark ``int(fraction * N + 1)`` atoms, drawn without replacement, for the encoder's mask token.

    The count is that of DSSL (usccolumbia/DSSL) and of Kong et al. (arXiv 2211.03563): at least one atom, and the
    only atom of a one-atom cell. Both papers' DSSL half draws once before training; here every epoch draws anew.

    Attributes:
        fraction: Share of the atoms to hide, in (0, 1).
    """

    fraction: float = 0.15

    def __post_init__(self) -> None:
        if not (isinstance(self.fraction, int | float) and 0 < self.fraction < 1):
            raise ConfigError(f"The fraction of masked atoms must lie between 0 and 1, not {self.fraction!r}.")

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Write the mask into ``graph.atom["mask"]``, ``(N,)`` bool."""
        n = len(graph.node_type)
        mask = torch.zeros(n, dtype=torch.bool)
        mask[torch.from_numpy(rng.choice(n, size=min(n, int(self.fraction * n + 1)), replace=False))] = True
        graph.atom[MASK] = mask
        return graph
