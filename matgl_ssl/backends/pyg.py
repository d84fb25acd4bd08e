"""The default backend: MatGL >= 4.1 on PyTorch Geometric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matgl.apps.pes import Potential
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from .batch import CrystalBatch, Graph
from .converter import Converter

if TYPE_CHECKING:
    from matgl_ssl.crystals.records import Crystal


def device_kinds() -> tuple[str, ...]:
    """The kinds of device that the graph library runs on: all that torch runs on."""
    return "cpu", "cuda", "mps"


def make_converter(element_types: tuple[str, ...], cutoff: float) -> Converter:
    """From crystals to graphs, as MatGL makes them."""
    return Converter(element_types, cutoff)


def to_graph(crystal: Crystal, converter: Converter) -> Graph:
    """Build a crystal's graph, on the CPU."""
    return converter(crystal)


def native(batch: CrystalBatch) -> Batch:
    """The batch as the graph object that MatGL's models take, positions not yet computed."""
    ptr = torch.cat([batch.n_atoms.new_zeros(1), batch.n_atoms.cumsum(0)])
    return Batch(
        _base_cls=Data,
        node_type=batch.node_type,
        frac_coords=batch.frac_coords,
        edge_index=batch.edge_index,
        pbc_offset=batch.pbc_offset,
        num_nodes=len(batch.node_type),
        batch=batch.batch,
        ptr=ptr,
    )


def run_model(model: nn.Module, batch: CrystalBatch, state: Tensor | None) -> Tensor:
    """One forward pass of a MatGL model. Returns its output as it comes."""
    g = native(batch)
    g.pos = batch.positions()
    g.pbc_offshift = batch.edge_shifts(g.pos)
    return model(g=g, state_attr=state)


def run_potential(potential: Potential, batch: CrystalBatch, state: Tensor | None) -> tuple[Tensor, ...]:
    """Energies (eV), forces (eV/Å), stresses (GPa, ``(3B, 3)``) of a MatGL ``Potential``."""
    return potential(native(batch), batch.lattice, state)


def atoms_per_graph(g: Batch) -> Tensor:
    """Number of atoms of each crystal of a native graph, shape ``(B,)``."""
    return torch.bincount(g.batch, minlength=g.num_graphs) if g.batch is not None else torch.tensor([g.num_nodes])
