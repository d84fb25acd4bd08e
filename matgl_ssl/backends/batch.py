"""What flows from the graph converters to the encoders: plain tensors, the same in both backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from matgl_ssl.devices import moved
from matgl_ssl.errors import DataError

from .keys import EDGE_VECTOR

NUMERIC = (int, float, np.number, np.ndarray)

ATOM_LABELS = ("forces",)
"""Labels that belong to atoms; so do all whose name begins with ``atom:``."""


def is_atom_label(name: str) -> bool:
    """Whether a label has one row per atom."""
    return name in ATOM_LABELS or name.startswith("atom:")


@dataclass(eq=False)
class Graph:
    """One crystal as MatGL's graph converter sees it.

    Attributes:
        node_type: Positions in the model's element list, shape ``(N,)``, int64.
        frac_coords: Fractional coordinates, shape ``(N, 3)``.
        lattice: Lattice vectors as rows in Å, shape ``(3, 3)``.
        edge_index: Source and destination atom of each edge, shape ``(2, E)``, int64.
        pbc_offset: Lattice translation of each edge's destination, shape ``(E, 3)``.
        id: Name of the crystal.
        atom: What views wrote down about atoms, each of shape ``(N, ...)`` (masks, noise).
        edge: What views wrote down about edges, each of shape ``(E, ...)``.
        labels: Labels of the crystal.
    """

    node_type: Tensor
    frac_coords: Tensor
    lattice: Tensor
    edge_index: Tensor
    pbc_offset: Tensor
    id: str = ""
    atom: dict[str, Tensor] = field(default_factory=dict)
    edge: dict[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)

    def copy(self) -> Graph:
        """A graph to annotate. The tensors are the same ones."""
        return dataclasses.replace(self, atom=dict(self.atom), edge=dict(self.edge))


@dataclass(eq=False)
class CrystalBatch:
    """Several graphs as one disconnected graph.

    Attributes:
        node_type: Shape ``(N,)``, int64.
        frac_coords: Shape ``(N, 3)``.
        lattice: Shape ``(B, 3, 3)``, Å.
        edge_index: Shape ``(2, E)``, int64.
        pbc_offset: Shape ``(E, 3)``.
        batch: Crystal of each atom, shape ``(N,)``, int64.
        n_atoms: Atoms of each crystal, shape ``(B,)``, int64.
        n_edges: Edges of each crystal, shape ``(B,)``, int64.
        atom: Per-atom notes of the views and labels of the atoms, each ``(N, ...)``.
        edge: Per-edge notes of the views, each ``(E, ...)``.
        labels: Labels of the crystals, ``(B,)`` or ``(B, ...)`` float; NaN where a crystal has none.
        ids: Names of the crystals.
    """

    node_type: Tensor
    frac_coords: Tensor
    lattice: Tensor
    edge_index: Tensor
    pbc_offset: Tensor
    batch: Tensor
    n_atoms: Tensor
    n_edges: Tensor
    atom: dict[str, Tensor]
    edge: dict[str, Tensor]
    labels: dict[str, Tensor]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all tensors as one: between processes each would travel as a file of its own."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "ids"}
        groups = {name: value if isinstance(value, dict) else {"": value} for name, value in values.items()}
        tensors = [((name, key), tensor) for name, group in groups.items() for key, tensor in group.items()]
        tensors.sort(key=lambda item: -item[1].element_size())  # so that each begins where its elements may
        packed = torch.cat([tensor.detach().reshape(-1).view(torch.uint8) for _, tensor in tensors])
        return _unpacked, (packed, [(place, tensor.dtype, tensor.shape) for place, tensor in tensors], self.ids)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> CrystalBatch:
        """Return the batch on a device, its floating-point tensors in ``dtype`` if one is given.

        Graphs and labels move here and nowhere else.
        """

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: move(v) for k, v in value.items()}
            if not isinstance(value, Tensor):
                return value
            return moved(value, device, dtype)

        return CrystalBatch(**{f.name: move(getattr(self, f.name)) for f in dataclasses.fields(self)})

    def nothing(self) -> CrystalBatch:
        """A batch of no crystals with the same notes and labels."""

        def none(name: str, value: Any) -> Any:
            if isinstance(value, dict):
                return {k: none(k, v) for k, v in value.items()}
            return value[:, :0] if name == "edge_index" else value[:0]

        return CrystalBatch(**{f.name: none(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)})

    def positions(self) -> Tensor:
        """Cartesian coordinates in Å, ``(N, 3)``."""
        return torch.einsum("ni,nij->nj", self.frac_coords, self.lattice[self.batch])

    def edge_vectors(self) -> Tensor:
        """From source to destination of each edge in Å, ``(E, 3)``; what a view put in its place, if one did."""
        if EDGE_VECTOR in self.edge:
            return self.edge[EDGE_VECTOR]
        positions, (source, destination) = self.positions(), self.edge_index
        shift = torch.einsum("ei,eij->ej", self.pbc_offset, self.lattice[self.batch[source]])
        return positions[destination] + shift - positions[source]

    def edge_shifts(self, positions: Tensor) -> Tensor:
        """Cartesian translation of each edge's destination in Å, ``(E, 3)``, as MatGL's models take it."""
        source, destination = self.edge_index
        if EDGE_VECTOR in self.edge:
            return self.edge[EDGE_VECTOR] - (positions[destination] - positions[source])
        return torch.einsum("ei,eij->ej", self.pbc_offset, self.lattice[self.batch[source]])

    def mean_over_atoms(self, values: Tensor) -> Tensor:
        """Average per-atom values ``(N, d)`` over each crystal: ``(B, d)``."""
        total = values.new_zeros(len(self), values.shape[-1]).index_add_(0, self.batch, values)
        return total / self.n_atoms.to(values.dtype)[:, None]


def _unpacked(packed: Tensor, layout: Sequence[tuple[tuple[str, str], torch.dtype, torch.Size]], ids: Any) -> Any:
    """The batch that ``CrystalBatch.__reduce__`` took apart."""
    sizes = [shape.numel() * dtype.itemsize for _, dtype, shape in layout]
    fields: dict[str, Any] = {"atom": {}, "edge": {}, "labels": {}}
    for ((name, key), dtype, shape), values in zip(layout, packed.split(sizes), strict=True):
        tensor = values.view(dtype).view(shape)
        if name in ("atom", "edge", "labels"):
            fields[name][key] = tensor
        else:
            fields[name] = tensor
    return CrystalBatch(**fields, ids=ids)


def collate(graphs: Sequence[Graph]) -> CrystalBatch:
    """Join graphs into a batch; the order of the crystals and of their atoms is kept."""
    on = graphs[0].node_type.device  # whatever torch's default is
    n_atoms = torch.tensor([len(g.node_type) for g in graphs], device=on)
    n_edges = torch.tensor([g.edge_index.shape[1] for g in graphs], device=on)
    first_atom = torch.repeat_interleave(n_atoms.cumsum(0) - n_atoms, n_edges)
    names = sorted({k for g in graphs for k, v in g.labels.items() if v is None or isinstance(v, NUMERIC)})
    return CrystalBatch(
        node_type=torch.cat([g.node_type for g in graphs]),
        frac_coords=torch.cat([g.frac_coords for g in graphs]),
        lattice=torch.stack([g.lattice for g in graphs]),
        edge_index=torch.cat([g.edge_index for g in graphs], dim=1) + first_atom,
        pbc_offset=torch.cat([g.pbc_offset for g in graphs]),
        batch=torch.repeat_interleave(torch.arange(len(graphs), device=on), n_atoms),
        n_atoms=n_atoms,
        n_edges=n_edges,
        atom={
            **{k: _atom_label(k, graphs) for k in names if is_atom_label(k)},
            **{k: torch.cat([g.atom[k] for g in graphs]) for k in graphs[0].atom},
        },
        edge={k: torch.cat([g.edge[k] for g in graphs]) for k in graphs[0].edge},
        labels={k: _label(k, graphs) for k in names if not is_atom_label(k)},
        ids=[g.id for g in graphs],
    )


def _label(name: str, graphs: Sequence[Graph]) -> Tensor:
    """One row a crystal; NaN for None."""
    return torch.from_numpy(np.stack(_of_one_shape(name, graphs, 0)))


def _atom_label(name: str, graphs: Sequence[Graph]) -> Tensor:
    """One row an atom; NaN for the atoms of crystals that have none."""
    return torch.from_numpy(np.concatenate(_of_one_shape(name, graphs, 1)))


def _of_one_shape(name: str, graphs: Sequence[Graph], atoms: Literal[0, 1]) -> list[np.ndarray]:
    """A label of each crystal in float64, full of NaN where it is None; with ``atoms``, there is a row for each.

    Raises:
        DataError: If one has another shape.
    """
    found = [None if g.labels.get(name) is None else np.asarray(g.labels[name], dtype=np.float64) for g in graphs]
    shape = next((value.shape[atoms:] for value in found if value is not None), ())
    rows = []
    for graph, value in zip(graphs, found, strict=True):
        wanted = (*(len(graph.node_type),) * atoms, *shape)
        if value is not None and value.shape != wanted:
            raise DataError(f"Label {name!r} of {graph.id!r} has shape {value.shape}, and not {wanted}.")
        rows.append(np.full(wanted, np.nan) if value is None else value)
    return rows
