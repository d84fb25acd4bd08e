"""M3GNet with less work.

A convolution's first layers act on ``[v_i | v_j | e_ij | u]``. Their parts of atoms and crystals are products per edge
in MatGL; the same products per atom, gathered afterwards, give the same sum. All that is left, the edges' update and
their messages to the atoms, is one pass over the edges. Of atoms and edges that are copies of each other
(``equivalence.py``), blocks compute one.
"""

from __future__ import annotations

from typing import Any

import torch
from matgl.layers._graph_convolution import M3GNetBlock, M3GNetGraphConv
from matgl.models import M3GNet
from matgl.utils.cutoff import polynomial_cutoff
from torch import Tensor
from torch.nn import functional

from .equivalence import AngularRefinement, Equivalence, equivalence
from .fast_class import FastClass
from .perceptrons import PERCEPTRONS, after, are_known, times
from .rows import Rows, Value
from .three_body import Angles


class FastM3GNetGraphConv(FastClass, M3GNetGraphConv):
    """Updates of edges, atoms and state (Eqs. 4-6 of Chen & Ong, Nat. Comput. Sci. 2022, 2, 718)."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether its layers are known."""
        updates = module.edge_update_func, module.node_update_func
        inner = (layer for update in updates for layer in (*update.layers, *update.gates))
        return are_known((*inner, module.edge_weight_func, module.node_weight_func))

    def forward(
        self,
        edge_index: Tensor,
        edge_feat: Tensor,
        node_feat: Tensor,
        state_feat: Tensor | None,
        rbf: Tensor,
        node_batch: Tensor | None,
        edge_batch: Tensor | None,
        num_nodes: int,
        num_graphs: int,
        same: Equivalence | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As MatGL's. Of what is the ``same``, one is computed."""
        all_atoms, n_of_edges = node_batch, None
        if same is not None:
            edge_index, n_of_edges, num_nodes = same.edge_index, same.times, len(same.atoms.one)
            edge_feat, rbf = same.edges.one_of_each(edge_feat), same.edges.one_of_each(rbf)
            node_feat = same.atoms.one_of_each(node_feat)
            node_batch = None if node_batch is None else same.atoms.one_of_each(node_batch)
        with_state = self.include_state and state_feat is not None
        of_state = None
        if with_state:
            batch = edge_index.new_zeros(num_nodes) if node_batch is None else node_batch
            of_state = state_feat.reshape(num_graphs, -1), batch  # type: ignore[union-attr]
        rows = Rows(edge_index, num_nodes)
        radial = rows.rows(rbf)
        edges = rows.rows(edge_feat)
        gated = _gated(self.edge_update_func, edges, node_feat, of_state)
        edges = edges + gated * radial.linear(self.edge_weight_func.weight)
        messages = _gated(self.node_update_func, edges, node_feat, of_state)
        messages = messages * radial.linear(self.node_weight_func.weight)
        new_edges, sums = rows.compute(edges, times(messages, n_of_edges, self.node_update_func.layers).sum(0))
        nodes = node_feat + sums
        if same is not None:
            new_edges, nodes = same.edges.to_all(new_edges), same.atoms.to_all(nodes)
        if with_state:
            state_feat = self.state_update_(nodes, state_feat, all_atoms, num_graphs)
        return new_edges, nodes, state_feat


class FastM3GNetBlock(FastClass, M3GNetBlock):
    """A convolution, and dropout."""

    def forward(self, *args: Any, same: Equivalence | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """As MatGL's."""
        return super().forward(*args) if same is None else self.conv(*args, same=same)


def _gated(network: Any, edges: Value, node_feat: Tensor, of_state: tuple[Tensor, Tensor] | None) -> Value:
    """``network(cat([node[source], node[destination], edge, state]))`` of MatGL's ``GatedMLP``."""
    first, gate = network.layers[0], network.gates[0]
    width, edge_width = node_feat.shape[1], first.in_features - 2 * node_feat.shape[1]
    if of_state is not None:
        edge_width -= of_state[0].shape[1]
    both = torch.cat([first.weight, gate.weight])
    by_source, by_destination, by_edge, by_state = both.split(
        [width, width, edge_width, both.shape[1] - 2 * width - edge_width], dim=1
    )
    source, destination = functional.linear(node_feat, by_source), functional.linear(node_feat, by_destination)
    if of_state is not None:
        state, batch = of_state
        source = source + functional.linear(state, by_state).index_select(0, batch)
    halves = []
    for layers, *parts in zip(
        (network.layers, network.gates),
        by_edge.chunk(2),
        source.chunk(2, dim=1),
        destination.chunk(2, dim=1),
        strict=True,
    ):
        weight, of_source, of_destination = parts
        hidden = edges.linear(weight, layers[0].bias) + edges.rows.atoms(of_source, 0)
        halves.append(after(hidden + edges.rows.atoms(of_destination, 1), layers[1:]))
    return halves[0] * halves[1]


class FastM3GNet(FastClass, M3GNet):
    """The model, with three-body terms by atom."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether its angular basis depends on one angle alone."""
        return not module.basis_expansion.use_phi

    def forward(
        self,
        g: Any,
        state_attr: Tensor | None = None,
        l_g: dict[str, Tensor] | None = None,
        return_all_layer_output: bool = False,
    ) -> Any:
        """As MatGL's."""
        if l_g is not None or return_all_layer_output:
            return super().forward(g, state_attr, l_g, return_all_layer_output)
        node_types = getattr(g, "node_type", getattr(g, "z", None))
        edge_index, batch, n_atoms = g.edge_index, getattr(g, "batch", None), g.pos.size(0)
        n_graphs = getattr(g, "num_graphs", None) or (1 if batch is None else int(batch.max()) + 1)
        source, destination = edge_index
        edge_batch = None if batch is None else batch.index_select(0, source)

        shift = getattr(g, "pbc_offshift", None)
        vectors = g.pos.index_select(0, destination) - g.pos.index_select(0, source)
        vectors = vectors if shift is None else vectors + shift
        lengths = torch.norm(vectors, dim=1)
        radial = self.bond_expansion(lengths)
        nodes, edges, state = self.embedding(node_types, radial, state_attr)
        if self.include_state and state is not None and state.dim() == 1:
            state = state.unsqueeze(0)
        features = {
            "bond_expansion": radial,
            "embedding": {"node_feat": nodes, "edge_feat": edges, "state_feat": state},
        }

        same = self._copies(nodes, node_types, batch, edge_index, vectors, lengths)
        told = {} if same is None else {"same": same}
        is_near = lengths.detach() <= self.threebody_cutoff
        if same is not None:
            is_first = torch.zeros_like(same.atoms.of, dtype=torch.bool).index_fill_(0, same.atoms.one, True)
            is_near = is_near & is_first.index_select(0, source)
        near = torch.nonzero(is_near).squeeze(1)
        far_end, near_lengths = destination.index_select(0, near), lengths.index_select(0, near)
        basis = self.basis_expansion
        angles = Angles(
            source.index_select(0, near), vectors.index_select(0, near), near_lengths, n_atoms, basis.shf.funcs
        )
        envelope = polynomial_cutoff(near_lengths, self.threebody_cutoff)[:, None]
        bessel = basis.sbf(near_lengths) * envelope
        bent, kept = (near, None) if same is None else _classes_of(near, same)
        for k, (three_body, block) in enumerate(zip(self.three_body_interactions, self.graph_layers, strict=True), 1):
            if angles.any:
                atoms = three_body.update_network_atom(nodes).index_select(0, far_end)
                messages = envelope * angles.message(bessel * atoms)
                messages = messages if kept is None else messages.index_select(0, kept)
                update = three_body.update_network_bond(messages.to(edges.dtype))
                if same is None:
                    edges = edges.index_add(0, bent, update)
                else:
                    edges = same.edges.to_all(same.edges.one_of_each(edges).index_add(0, bent, update))
            edges, nodes, state = block(
                edge_index, edges, nodes, state, radial, batch, edge_batch, n_atoms, n_graphs, **told
            )
            features[f"gc_{k}"] = {"node_feat": nodes, "edge_feat": edges, "state_feat": state}
        output = _output(self, nodes, edges, state, batch, n_graphs, features)
        features["final"] = output
        self.feature_dict = features
        return torch.squeeze(output)

    def _copies(
        self, nodes: Tensor, node_types: Any, batch: Tensor | None, edge_index: Tensor, vectors: Tensor, lengths: Tensor
    ) -> Equivalence | None:
        """What is equal at every layer. Forces tell copies apart, and so does dropout."""
        blocks = all(isinstance(block, FastM3GNetBlock) and block.dropout is None for block in self.graph_layers)
        convolutions = all(isinstance(block.conv, FastM3GNetGraphConv) for block in self.graph_layers)
        if batch is None or lengths.requires_grad or not (blocks and convolutions):
            return None

        def angular() -> AngularRefinement:
            degree = self.basis_expansion.max_l - 1
            return AngularRefinement(edge_index[0], vectors, lengths, self.threebody_cutoff, len(nodes), degree)

        return equivalence(
            nodes, torch.stack([node_types, batch]), edge_index, lengths, len(self.graph_layers), angular
        )


def _classes_of(near: Tensor, same: Equivalence) -> tuple[Tensor, Tensor]:
    """The classes whose one edge is among the ``near`` ones, and its place there."""
    place = torch.full_like(same.edges.of, -1).index_copy_(0, near, torch.arange(len(near), device=near.device))
    place = place.index_select(0, same.edges.one)
    classes = torch.nonzero(place >= 0).squeeze(1)
    return classes, place.index_select(0, classes)


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


FASTER = (*PERCEPTRONS, FastM3GNetGraphConv, FastM3GNetBlock, FastM3GNet)
VARIANTS = tuple(
    {
        "units": 8, "dim_node_embedding": 8, "dim_edge_embedding": 8, "cutoff": 4.0, "threebody_cutoff": 3.5,
        "max_n": 2, **own,
    } for own in (
        {"nblocks": 2, "is_intensive": False},
        {"nblocks": 1, "include_state": True, "dim_state_embedding": 2, "ntypes_state": 2},
    )
)  # fmt: skip
"""Small models that ``self_check.py`` compares with MatGL's."""
