"""MEGNet with less work.

The first layer of a block's edge network acts on ``[v_i | v_j | e_ij | u]``. The parts of atoms and of the crystal are
matrix products per edge in MatGL; the same products per atom, gathered afterwards, give the same sum. Means over a
crystal's edges come from the sums over each atom's edges, which the atoms need anyway.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from matgl.layers._activations import SoftPlus2
from matgl.layers._basis import GaussianExpansion
from torch import Tensor, nn
from torch.nn import functional

from .activations import accelerate_softplus2, softplus2_
from .incidence import Incidence


def accelerate_megnet(model: Any) -> None:
    """Shadow the blocks, the edges' Set2Set, and the activations."""
    if not isinstance(model.blocks[0].activation, SoftPlus2):
        return
    accelerate_softplus2(model)
    if isinstance(expansion := model.bond_expansion.rbf, GaussianExpansion):
        expansion.forward = MethodType(_expand, expansion)
    for block in model.blocks:
        block.forward = MethodType(_block, block)
    model.edge_s2s.forward = MethodType(_edge_set2set, model.edge_s2s)


def _expand(gaussians: Any, lengths: Tensor) -> Tensor:
    """MatGL's ``GaussianExpansion``, written over itself where nobody differentiates it."""
    differences = lengths[:, None] - gaussians.centers[None, :]
    if differences.requires_grad:
        return torch.exp(-gaussians.width * differences**2)
    return differences.square_().mul_(-gaussians.width).exp_()


def _block(
    block: Any,
    edge_index: Tensor,
    edge_feat: Tensor,
    node_feat: Tensor,
    state_feat: Tensor,
    node_batch: Tensor | None,
    edge_batch: Tensor | None,
    num_nodes: int,
    num_graphs: int,
) -> tuple[Tensor, ...]:
    """MatGL's ``MEGNetBlock``: edges, atoms, state (Eqs. 1-3 of Chen et al., Chem. Mater. 2019, 31, 3564)."""
    conv, ends = block.conv, Incidence.of(edge_index, num_nodes, edge_feat)
    batch = edge_index.new_zeros(num_nodes) if node_batch is None else node_batch
    nodes, state = block.node_func(node_feat), block.state_func(state_feat.reshape(num_graphs, -1))

    width, state_width = nodes.shape[1], state.shape[1]
    (weight, bias), *rest = _linear(conv.edge_func)
    by_source, by_destination, by_edge, by_state = weight.split(
        [width, width, weight.shape[1] - 2 * width - state_width, state_width], dim=1
    )
    of_source = functional.linear(nodes, by_source) + functional.linear(state, by_state).index_select(0, batch)
    hidden = functional.linear(block.edge_func(edge_feat), by_edge, bias)
    edges = softplus2_(ends.add_atoms(hidden, of_source, functional.linear(nodes, by_destination)))
    for weight, bias in rest:
        edges = softplus2_(functional.linear(edges, weight, bias))

    sums, degrees = ends.sum_edges(edges), torch.bincount(ends.source, minlength=num_nodes)
    (weight, bias), *rest = _linear(conv.node_func)
    by_node, by_edge, by_state = weight.split([width, edges.shape[1], state_width], dim=1)
    hidden = functional.linear(nodes, by_node, bias)
    hidden = hidden + functional.linear(sums / degrees.clamp(min=1)[:, None], by_edge)
    nodes = softplus2_(hidden + functional.linear(state, by_state).index_select(0, batch))
    for weight, bias in rest:
        nodes = softplus2_(functional.linear(nodes, weight, bias))

    if node_batch is None:
        # The mean over no edges at all is NaN there, as in MatGL.
        means = [edges.mean(0, keepdim=True), nodes.mean(0, keepdim=True)]
    else:
        n_edges = degrees.new_zeros(num_graphs).index_add(0, batch, degrees)
        n_nodes = torch.bincount(batch, minlength=num_graphs)
        means = [
            values.new_zeros(num_graphs, values.shape[1]).index_add(0, batch, values) / n.clamp(min=1)[:, None]
            for values, n in ((sums, n_edges), (nodes, n_nodes))
        ]
    state = conv.state_func(torch.cat([state, *means], dim=1))
    new, old = (edges, nodes, state), (edge_feat, node_feat, state_feat)
    if block.dropout is not None:
        new = tuple(map(block.dropout, new))
    return tuple(a + b for a, b in zip(new, old, strict=True)) if block.skip else new


def _linear(network: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of MatGL's ``MLP``."""
    return [(layer.weight, layer.bias) for layer in network.layers if isinstance(layer, nn.Linear)]


def _edge_set2set(readout: Any, edge_feat: Tensor, edge_batch: Tensor | None, num_graphs: int | None = None) -> Tensor:
    """MatGL's ``EdgeSet2Set``; the attention's sum is taken before it is normalised."""
    if edge_batch is None:
        edge_batch = torch.zeros(len(edge_feat), dtype=torch.long, device=edge_feat.device)
    if num_graphs is None:
        num_graphs = int(edge_batch.max()) + 1 if len(edge_batch) else 1
    if not len(edge_feat):
        return edge_feat.new_zeros(num_graphs, readout.output_dim)
    zeros = edge_feat.new_zeros(readout.n_layers, num_graphs, readout.input_dim)
    state, q_star = (zeros, zeros), edge_feat.new_zeros(num_graphs, readout.output_dim)
    for _ in range(readout.n_iters):
        q, state = readout.lstm(q_star[None], state)
        q = q.view(num_graphs, readout.input_dim)
        logits = (edge_feat * q.index_select(0, edge_batch)).sum(1)
        # A shift cancels in the ratio: nothing needs to flow through the maximum.
        top = logits.detach().new_full((num_graphs,), -torch.inf).scatter_reduce(0, edge_batch, logits.detach(), "amax")
        weights = torch.exp(logits - top.index_select(0, edge_batch))
        total = weights.new_zeros(num_graphs).index_add(0, edge_batch, weights)
        summed = edge_feat.new_zeros(num_graphs, readout.input_dim).index_add(
            0, edge_batch, edge_feat * weights[:, None]
        )
        q_star = torch.cat([q, summed / (total + 1e-16)[:, None]], dim=1)
    return q_star
