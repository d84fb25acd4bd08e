"""The same function with the same parameters, computed with less work.

A convolution's first layer acts on ``[v_i | v_j | e_ij]``. Its node part is a matrix product per edge in MatGL; the
same product per atom, gathered afterwards, gives the same sum. MatGL's layers and gates share their input, so their
first products are one. Gathers are ``index_select``, whose backward is the fast ``index_add``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from matgl import models
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl._lane import LANE

_METHODS = ("edge_update_", "node_update_")


def accelerate(model: Any) -> Any:
    """Make an M3GNet of the PyG lane faster, in place; other models are returned as they are.

    Parameters, ``state_dict`` and what is saved stay what they were.

    Args:
        model: A bare MatGL model.

    Returns:
        The model.
    """
    if LANE == "pyg" and isinstance(model, models.M3GNet):
        for block in model.graph_layers:
            conv = block.conv
            if not conv.include_state:
                conv.edge_update_ = MethodType(_update(conv.edge_update_func, conv.edge_weight_func, None), conv)
                conv.node_update_ = MethodType(_update(conv.node_update_func, conv.node_weight_func, "source"), conv)
    return model


def decelerate(model: Any) -> Any:
    """Undo ``accelerate``. Returns the model."""
    for block in getattr(model, "graph_layers", ()):
        for method in _METHODS:
            block.conv.__dict__.pop(method, None)
    return model


def _update(gated: nn.Module, weight: nn.Module, sum_over: str | None) -> Callable[..., Tensor]:
    """M3GNet's edge update (Eq. 4 of Chen & Ong 2022) or node update (Eq. 5)."""

    def update(
        conv: Any, edge_index: Tensor, edge_feat: Tensor, node_feat: Tensor, rbf: Tensor, u: Any, num_nodes: int = 0
    ) -> Tensor:
        messages = _gated_of_concatenated(gated, edge_index, node_feat, edge_feat) * weight(rbf)
        if sum_over is None:
            return messages
        return messages.new_zeros(num_nodes, messages.shape[1]).index_add(0, edge_index[0], messages)

    return update


def _gated_of_concatenated(gated: Any, edge_index: Tensor, node_feat: Tensor, edge_feat: Tensor) -> Tensor:
    """``gated(cat([node[source], node[destination], edge]))`` of MatGL's ``GatedMLP``."""
    first, gate = gated.layers[0], gated.gates[0]
    bias = None if first.bias is None else torch.cat([first.bias, gate.bias])
    by_source, by_destination, by_edge = torch.cat([first.weight, gate.weight]).split(
        [node_feat.shape[1], node_feat.shape[1], edge_feat.shape[1]], dim=1
    )
    hidden = functional.linear(edge_feat, by_edge, bias)
    hidden = hidden + functional.linear(node_feat, by_source).index_select(0, edge_index[0])
    hidden = hidden + functional.linear(node_feat, by_destination).index_select(0, edge_index[1])
    layers, gates = hidden.chunk(2, dim=1)
    return gated.layers[1:](layers) * gated.gates[1:](gates)
