"""M3GNet with less work.

A convolution's first layer acts on ``[v_i | v_j | e_ij]``. Its node part is a matrix product per edge in MatGL; the
same product per atom, gathered afterwards, gives the same sum. MatGL's layers and gates share their input, so their
first products are one. Gathers are ``index_select``, whose backward is the fast ``index_add``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from matgl.utils.cutoff import polynomial_cutoff
from torch import Tensor, nn
from torch.nn import functional

from .activations import accelerate_silu
from .incidence import Incidence
from .three_body import Angles


def accelerate_m3gnet(model: Any) -> None:
    """Shadow the convolutions' methods, the forward pass, and the activations."""
    accelerate_silu(model)
    for block in model.graph_layers:
        conv = block.conv
        if not conv.include_state:
            conv.edge_update_ = MethodType(_update(conv.edge_update_func, conv.edge_weight_func, None), conv)
            conv.node_update_ = MethodType(_update(conv.node_update_func, conv.node_weight_func, "source"), conv)
    if not model.basis_expansion.use_phi:
        model.forward = MethodType(_forward, model)


def _forward(
    model: Any,
    g: Any,
    state_attr: Tensor | None = None,
    l_g: dict[str, Tensor] | None = None,
    return_all_layer_output: bool = False,
) -> Any:
    """MatGL's ``M3GNet.forward`` (Chen & Ong, Nat. Comput. Sci. 2022, 2, 718), three-body terms by atom."""
    if l_g is not None or return_all_layer_output:
        return type(model).forward(model, g, state_attr, l_g, return_all_layer_output)
    node_types = getattr(g, "node_type", getattr(g, "z", None))
    edge_index, batch, n_atoms = g.edge_index, getattr(g, "batch", None), g.pos.size(0)
    n_graphs = getattr(g, "num_graphs", None) or (1 if batch is None else int(batch.max()) + 1)
    source, destination = edge_index
    edge_batch = None if batch is None else batch.index_select(0, source)

    shift = getattr(g, "pbc_offshift", None)
    vectors = g.pos.index_select(0, destination) - g.pos.index_select(0, source)
    vectors = vectors if shift is None else vectors + shift
    lengths = torch.norm(vectors, dim=1)
    radial = model.bond_expansion(lengths)
    nodes, edges, state = model.embedding(node_types, radial, state_attr)
    if model.include_state and state is not None and state.dim() == 1:
        state = state.unsqueeze(0)
    features = {"bond_expansion": radial, "embedding": {"node_feat": nodes, "edge_feat": edges, "state_feat": state}}

    near = torch.nonzero(lengths.detach() <= model.threebody_cutoff).squeeze(1)
    far_end, near_lengths = destination.index_select(0, near), lengths.index_select(0, near)
    basis = model.basis_expansion
    angles = Angles(source.index_select(0, near), vectors.index_select(0, near), near_lengths, n_atoms, basis.shf.funcs)
    envelope = polynomial_cutoff(near_lengths, model.threebody_cutoff)[:, None]
    bessel = basis.sbf(near_lengths) * envelope
    for k, (three_body, block) in enumerate(zip(model.three_body_interactions, model.graph_layers, strict=True), 1):
        if angles.any:
            atoms = three_body.update_network_atom(nodes).index_select(0, far_end)
            messages = envelope * angles.message(bessel * atoms)
            edges = edges.index_add(0, near, three_body.update_network_bond(messages.to(edges.dtype)))
        edges, nodes, state = block(edge_index, edges, nodes, state, radial, batch, edge_batch, n_atoms, n_graphs)
        features[f"gc_{k}"] = {"node_feat": nodes, "edge_feat": edges, "state_feat": state}
    output = _output(model, nodes, edges, state, batch, n_graphs, features)
    features["final"] = output
    model.feature_dict = features
    return torch.squeeze(output)


def _output(
    model: Any, nodes: Tensor, edges: Tensor, state: Tensor | None, batch: Tensor | None, n_graphs: int, features: Any
) -> Tensor:
    if model.is_intensive:
        readout = model._readout(nodes, edges, batch)
        if model.include_state and state is not None:
            readout = torch.hstack([readout, state.view(n_graphs, -1)])
        features["readout"] = readout
        output = model.final_layer(readout)
        return model.sigmoid(output) if model.task_type == "classification" else output
    features["readout"] = atomic = model.final_layer(nodes)
    atomic = atomic.view(-1)
    return atomic.sum().view(1) if batch is None else atomic.new_zeros(n_graphs).index_add(0, batch, atomic)


def _update(gated: nn.Module, weight: nn.Module, sum_over: str | None) -> Callable[..., Tensor]:
    """M3GNet's edge update (Eq. 4 of Chen & Ong 2022) or node update (Eq. 5)."""

    def update(
        conv: Any, edge_index: Tensor, edge_feat: Tensor, node_feat: Tensor, rbf: Tensor, u: Any, num_nodes: int = 0
    ) -> Tensor:
        ends = Incidence.of(edge_index, len(node_feat), edge_feat)
        messages = _gated_of_concatenated(gated, ends, node_feat, edge_feat) * weight(rbf)
        return messages if sum_over is None else ends.sum_edges(messages)

    return update


def _gated_of_concatenated(gated: Any, ends: Incidence, node_feat: Tensor, edge_feat: Tensor) -> Tensor:
    """``gated(cat([node[source], node[destination], edge]))`` of MatGL's ``GatedMLP``."""
    first, gate = gated.layers[0], gated.gates[0]
    bias = None if first.bias is None else torch.cat([first.bias, gate.bias])
    by_source, by_destination, by_edge = torch.cat([first.weight, gate.weight]).split(
        [node_feat.shape[1], node_feat.shape[1], edge_feat.shape[1]], dim=1
    )
    hidden = ends.add_atoms(
        functional.linear(edge_feat, by_edge, bias),
        functional.linear(node_feat, by_source),
        functional.linear(node_feat, by_destination),
    )
    layers, gates = hidden.chunk(2, dim=1)
    return gated.layers[1:](layers) * gated.gates[1:](gates)
