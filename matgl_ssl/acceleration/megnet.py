"""MEGNet with less work.

The first layer of a block's edge network acts on ``[v_i | v_j | e_ij | u]``. The parts of atoms and of the crystal are
products per edge in MatGL; the same products per atom, gathered afterwards, give the same sum. All that is left is one
pass over the edges. Means over a crystal's edges come from the sums over each atom's, which the atoms need anyway. Of
atoms and edges that are copies of each other (``equivalence.py``), blocks and readouts compute one.
"""

from __future__ import annotations

from typing import Any

import torch
from matgl.graph._compute import compute_pair_vector_and_distance
from matgl.layers._basis import GaussianExpansion
from matgl.layers._graph_convolution import MEGNetBlock
from matgl.layers._readout import EdgeSet2Set, Set2SetReadOut
from matgl.models import MEGNet
from torch import Tensor, nn
from torch.nn import functional

from .equivalence import Classes, Equivalence, equivalence
from .fast_class import FastClass
from .perceptrons import PERCEPTRONS, after, are_known, times
from .rows import Rows


class FastMEGNet(FastClass, MEGNet):
    """The model, with edges encoded from their lengths in one pass."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether lengths are expanded in Gaussians, and the activations are known."""
        return isinstance(module.bond_expansion.rbf, GaussianExpansion) and are_known(module.edge_encoder.layers)

    def forward(self, g: Any, state_attr: Tensor | None = None, **kwargs: Any) -> Tensor:
        """As MatGL's."""
        batch, edge_index, n_nodes = getattr(g, "batch", None), g.edge_index, g.pos.size(0)
        n_graphs = getattr(g, "num_graphs", None) or (1 if batch is None else int(batch.max()) + 1)
        edge_batch = None if batch is None else batch.index_select(0, edge_index[0])
        _, lengths = compute_pair_vector_and_distance(g.pos, edge_index, getattr(g, "pbc_offshift", None))
        node_types = getattr(g, "node_type", getattr(g, "z", None))
        nodes, _, state = self.embedding(node_types, lengths, state_attr)
        same = self._copies(nodes, node_types, batch, edge_index, lengths)
        told = {} if same is None else {"same": same}
        edges = self.edge_encoder(lambda layers: _encode(lengths, self.bond_expansion.rbf, layers, same))
        nodes, state = self.node_encoder(nodes), self.state_encoder(state)
        features: dict[str, Any] = {"embedding": {"node_feat": nodes, "edge_feat": edges, "state_feat": state}}
        if not self.training:  # what is large and nobody asks for while training
            features["edge_attr"] = self.bond_expansion(lengths)
        state = state.reshape(n_graphs, -1)
        for k, block in enumerate(self.blocks, 1):
            edges, nodes, state = block(edge_index, edges, nodes, state, batch, edge_batch, n_nodes, n_graphs, **told)
            features[f"gc_{k}"] = {"node_feat": nodes, "edge_feat": edges, "state_feat": state}
        of_nodes = self.node_s2s(nodes, batch, dim_size=n_graphs, **told)
        of_edges = self.edge_s2s(edges, edge_batch, num_graphs=n_graphs, **told)
        readout = torch.cat([part.reshape(n_graphs, -1) for part in (of_nodes, of_edges, state)], dim=-1)
        features["readout"] = readout
        output = self.output_proj(self.dropout(readout) if self.dropout else readout)
        features["final"] = output = torch.squeeze(torch.sigmoid(output) if self.is_classification else output)
        self.feature_dict = features
        return output

    def _copies(
        self, nodes: Tensor, node_types: Any, batch: Tensor | None, edge_index: Tensor, lengths: Tensor
    ) -> Equivalence | None:
        """What is equal at every layer. Forces tell copies apart, and so does dropout."""
        readouts = isinstance(self.node_s2s, FastSet2SetReadOut) and isinstance(self.edge_s2s, FastEdgeSet2Set)
        blocks = all(isinstance(block, FastMEGNetBlock) and block.dropout is None for block in self.blocks)
        if batch is None or lengths.requires_grad or not (readouts and blocks):
            return None
        return equivalence(nodes, torch.stack([node_types, batch]), edge_index, lengths, len(self.blocks))


def _encode(lengths: Tensor, gaussians: Any, layers: Any, same: Equivalence | None) -> Tensor:
    """Edges' embeddings. An edge and its reverse have one length, to the last bit: it is encoded once."""
    if same is not None:
        return same.edges.to_all(_encode(same.edges.one_of_each(lengths), gaussians, layers, None))
    index = None
    if not lengths.requires_grad:
        lengths, index = torch.unique(lengths, return_inverse=True)
    centers = gaussians.centers
    scale = torch.as_tensor(gaussians.width, dtype=lengths.dtype, device=lengths.device).sqrt().expand(len(centers))
    rows = Rows()
    differences = rows.rows(lengths[:, None]).linear(torch.ones_like(centers)[:, None], -centers)
    (edges,) = rows.compute(after((differences * rows.vector(scale.contiguous())).activate("gaussian"), layers))
    return edges if index is None else edges.index_select(0, index)


class FastMEGNetBlock(FastClass, MEGNetBlock):
    """Updates of edges, atoms and state (Eqs. 1-3 of Chen et al., Chem. Mater. 2019, 31, 3564)."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether its layers are known."""
        networks = module.edge_func, module.conv.edge_func, module.conv.node_func
        return all(type(network) is nn.Identity or are_known(network.layers) for network in networks)

    def forward(
        self,
        edge_index: Tensor,
        edge_feat: Tensor,
        node_feat: Tensor,
        state_feat: Tensor,
        node_batch: Tensor | None,
        edge_batch: Tensor | None,
        num_nodes: int,
        num_graphs: int,
        same: Equivalence | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As MatGL's. Of what is the ``same``, one is computed."""
        batch = edge_index.new_zeros(num_nodes) if node_batch is None else node_batch
        degrees = torch.bincount(edge_index[0], minlength=num_nodes)
        n_edges = degrees.new_zeros(num_graphs).index_add(0, batch, degrees)
        n_nodes = torch.bincount(batch, minlength=num_graphs)
        n_of_atoms = n_of_edges = None
        if same is not None:
            edge_index, n_of_edges, n_of_atoms = same.edge_index, same.times, same.atoms.size
            edge_feat, node_feat = same.edges.one_of_each(edge_feat), same.atoms.one_of_each(node_feat)
            batch, degrees = same.atoms.one_of_each(batch), same.atoms.one_of_each(degrees)
            num_nodes = len(degrees)
        crystals = batch.expand(2, -1).contiguous()
        state = self.state_func(state_feat.reshape(num_graphs, -1))

        first, *rest = self.conv.edge_func.layers
        by_source, by_destination, by_edge, by_state = first.weight.chunk(4, dim=1)
        atoms = Rows(crystals, num_graphs)
        dense = after(atoms.rows(node_feat), getattr(self.node_func, "layers", ()))
        of_crystal = atoms.atoms(functional.linear(state, by_state, first.bias), 0)
        nodes, of_source, of_destination = atoms.compute(
            dense, dense.linear(by_source) + of_crystal, dense.linear(by_destination)
        )
        bonds = Rows(edge_index, num_nodes)
        before = bonds.rows(edge_feat)
        hidden = after(before, getattr(self.edge_func, "layers", ())).linear(by_edge)
        new = after(hidden + bonds.atoms(of_source, 0) + bonds.atoms(of_destination, 1), rest)
        skip = self.skip and self.dropout is None
        edges, sums = bonds.compute(new + before if skip else new, times(new, n_of_edges, rest).sum(0))

        first, *rest = self.conv.node_func.layers
        width = state.shape[1]
        by_node, by_edge, by_state = first.weight.split([width, sums.shape[1], width], dim=1)
        # Means over no edges are 0 for atoms, and NaN for a crystal that is alone in its batch, as in MatGL.
        atoms = Rows(crystals, num_graphs)
        hidden = atoms.rows(sums / degrees.clamp(min=1)[:, None]).linear(by_edge) + atoms.rows(nodes).linear(by_node)
        new = after(hidden + atoms.atoms(functional.linear(state, by_state, first.bias), 0), rest)
        summed = times(atoms.rows(sums), n_of_atoms, self.conv.edge_func.layers), times(new, n_of_atoms, rest)
        nodes, of_edges, of_nodes = atoms.compute(new, *(value.sum(0) for value in summed))
        if node_batch is not None:
            n_edges, n_nodes = n_edges.clamp(min=1), n_nodes.clamp(min=1)
        means = of_edges / n_edges[:, None], of_nodes / n_nodes[:, None]
        state = self.conv.state_func(torch.cat([state, *means], dim=1))
        if self.dropout is not None:
            edges, nodes, state = map(self.dropout, (edges, nodes, state))
        if self.skip:
            edges, nodes, state = edges if skip else edges + edge_feat, nodes + node_feat, state + state_feat
        return (edges, nodes, state) if same is None else (same.edges.to_all(edges), same.atoms.to_all(nodes), state)


class FastLSTM(FastClass, nn.LSTM):
    """Set2Set's LSTM, of one layer on sequences of one: its cell alone is several times as fast."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether it is no more than a cell."""
        plain = module.num_layers == 1 and module.bias and not module.batch_first
        return plain and not module.bidirectional and not module.proj_size

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's."""
        if hx is None or not isinstance(input, Tensor) or input.dim() != 3 or len(input) != 1:
            return super().forward(input, hx)
        (before, cell), (weights,) = hx, self.all_weights
        after, cell = torch.lstm_cell(input[0], (before[0], cell[0]), *weights)
        return after[None], (after[None], cell[None])


class FastSet2SetReadOut(FastClass, Set2SetReadOut):
    """Readout of atoms."""

    def forward(
        self, x: Tensor, index: Tensor | None = None, ptr: Any = None, dim_size: int | None = None, dim: int = -2,
        same: Equivalence | None = None,
    ) -> Tensor:  # fmt: skip
        """As MatGL's."""
        if index is None or dim_size is None:
            return super().forward(x, index, ptr, dim_size, dim)
        return _set2set(self.lstm, self.n_iters, x, index, dim_size, None if same is None else same.atoms)


class FastEdgeSet2Set(FastClass, EdgeSet2Set):
    """Readout of edges."""

    def forward(
        self, edge_feat: Tensor, edge_batch: Tensor | None, num_graphs: int | None = None,
        same: Equivalence | None = None,
    ) -> Tensor:  # fmt: skip
        """As MatGL's."""
        if edge_batch is None or num_graphs is None or not len(edge_feat):
            return super().forward(edge_feat, edge_batch, num_graphs)
        return _set2set(
            self.lstm, self.n_iters, edge_feat, edge_batch, num_graphs, None if same is None else same.edges
        )


def _set2set(
    lstm: nn.LSTM, n_iters: int, values: Tensor, crystals: Tensor, n_crystals: int, classes: Classes | None
) -> Tensor:
    """Set2Set (Vinyals et al., ICLR 2016), whose weighted sum is taken before it is normalised.

    Args:
        lstm: What asks the next question.
        n_iters: Number of questions.
        values: Of atoms or edges, ``(M, d)``.
        crystals: To which crystal each belongs, ``(M,)``.
        n_crystals: Number of crystals.
        classes: Which of the values are the same.

    Returns:
        ``(n_crystals, 2 d)``.
    """
    if classes is not None:
        values, crystals = classes.one_of_each(values), classes.one_of_each(crystals)
    width = values.shape[1]
    zeros = values.new_zeros(lstm.num_layers, n_crystals, width)
    state, q_star = (zeros, zeros), values.new_zeros(n_crystals, 2 * width)
    ones, index = values.new_ones(1, width), crystals.expand(2, -1).contiguous()
    for _ in range(n_iters):
        q, state = lstm(q_star[None], state)
        q = q.view(n_crystals, width)
        rows = Rows(index, n_crystals)
        (logits,) = rows.compute((rows.rows(values) * rows.atoms(q, 0)).linear(ones))
        # A shift cancels in the ratio: nothing needs to flow through the maximum.
        found = logits.detach().squeeze(1)
        top = found.new_full((n_crystals,), -torch.inf).scatter_reduce(0, crystals, found, "amax")
        weights = torch.exp(logits - top.index_select(0, crystals)[:, None])
        weights = weights if classes is None else weights * classes.size
        rows = Rows(index, n_crystals)
        weight = rows.rows(weights)
        summed, total = rows.compute((weight.linear(ones.t()) * rows.rows(values)).sum(0), weight.sum(0))
        q_star = torch.cat([q, summed / (total + 1e-16)], dim=1)
    return q_star


FASTER = (*PERCEPTRONS, FastMEGNet, FastMEGNetBlock, FastLSTM, FastSet2SetReadOut, FastEdgeSet2Set)
VARIANTS = (
    {
        "nblocks": 2, "dim_node_embedding": 8, "hidden_layer_sizes_input": (16, 8),
        "hidden_layer_sizes_conv": (16, 16, 8), "hidden_layer_sizes_output": (8, 4), "ntypes_state": 2,
    },
)  # fmt: skip
"""Small models that ``self_check.py`` compares with MatGL's."""
