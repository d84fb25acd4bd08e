"""Give every element of a crystal the place of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from matgl_ssl.backends import Graph

from .view import View


@dataclass(frozen=True)
class ReplaceElements(View):
    """Replace each element by a random other one of the model's; different elements stay different.

    The model's elements are put in a random ring, and each becomes the next: no element stays what it was, each of the
    others is as likely, and sites that were alike stay alike. The geometry is that of the crystal.

    Attributes:
        n_elements: Length of the model's element list.
    """

    n_elements: Annotated[int, Field(ge=2)] = 2

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Replace the elements."""
        ring = rng.permutation(self.n_elements)
        after = np.empty_like(ring)
        after[ring] = np.roll(ring, -1)
        graph.node_type = torch.from_numpy(after)[graph.node_type.long()].to(graph.node_type)
        return graph
