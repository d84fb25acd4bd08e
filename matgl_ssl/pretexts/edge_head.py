"""Numbers of edges, and what they add up to: vectors and tensors that turn with the crystal."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features

Modulation = tuple[Tensor, Tensor]
"""Factors and summands of each crystal's hidden layer, ``(B, d)`` each."""


class EdgeHead(nn.Sequential):
    """A network of both ends of an edge and the edge between them, at the last layer: one number, zero at first.

    The atom vectors of M3GNet and MEGNet stay the same when a crystal is rotated. What turns with it must get its
    directions from outside: from the edges, weighted by these numbers (``atom_vectors``, ``crystal_tensors``).

    Args:
        encoder: The encoder whose features it reads.
    """

    def __init__(self, encoder: Encoder) -> None:
        last = nn.Linear(encoder.node_dim, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(2 * encoder.node_dim + encoder.edge_dim, encoder.node_dim), nn.SiLU(), last)

    def forward(  # type: ignore[override] # a plain Sequential takes one tensor
        self, features: Features, crystals: CrystalBatch, modulation: Modulation | None = None
    ) -> Tensor:
        """The numbers, ``(E, 1)``; with ``modulation``, of a hidden layer times ``1 + factor``, plus the summand."""
        source, destination = crystals.edge_index
        nodes = features.node[-1]
        layers: list[Any] = list(self)
        first, *rest = layers
        width = nodes.shape[1]
        by_source, by_destination, by_edge = first.weight.split([width, width, first.in_features - 2 * width], dim=1)
        # The first layer's parts for atoms act on atoms, of which there are fewer than edges.
        scalars = functional.linear(cast("Tensor", features.edge[-1]), by_edge, first.bias)
        for weight, atom in ((by_source, source), (by_destination, destination)):
            scalars = scalars + functional.linear(nodes, weight).index_select(0, atom)
        if modulation is not None:
            factor, summand = (part.index_select(0, crystals.batch[source]) for part in modulation)
            scalars = scalars * (1 + factor) + summand
        for layer in rest:
            scalars = layer(scalars)
        return scalars


def atom_vectors(scalars: Tensor, crystals: CrystalBatch) -> Tensor:
    """``v_i = sum over edges i->j of s_ij n_ij``, with n the edge's direction: ``(N, 3)`` from ``(E, 1)``."""
    return scalars.new_zeros(len(crystals.node_type), 3).index_add(
        0, crystals.edge_index[0], scalars * _directions(scalars, crystals)
    )


def crystal_tensors(scalars: Tensor, crystals: CrystalBatch) -> Tensor:
    """``3 mean over edges of s_ij n_ij n_ij^T``, symmetric: ``(B, 3, 3)`` from ``(E, 1)``.

    Numbers that are all 1 give the identity where the edges of a crystal point everywhere alike.
    """
    directions = _directions(scalars, crystals)
    parts = 3 * scalars[:, :, None] * directions[:, :, None] * directions[:, None, :]
    total = scalars.new_zeros(len(crystals), 3, 3).index_add(0, crystals.batch[crystals.edge_index[0]], parts)
    return total / crystals.n_edges.clamp(min=1).to(total)[:, None, None]


def _directions(scalars: Tensor, crystals: CrystalBatch) -> Tensor:
    return functional.normalize(crystals.edge_vectors().to(scalars), dim=1)
