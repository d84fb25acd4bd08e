"""The backend of MatGL 2.2 on DGL, for models trained before MatGL 3.0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dgl
import matgl
import torch
from matgl.apps.pes import Potential
from torch import Tensor, nn

from .batch import CrystalBatch, Graph
from .converter import Converter
from .dgl_three_body import crystal_by_crystal

if TYPE_CHECKING:
    from matgl_ssl.crystals.records import Crystal


def device_kinds() -> tuple[str, ...]:
    """The kinds of device that this build of DGL runs on; that of the Python package index knows the CPU alone."""
    return ("cpu", "cuda") if dgl.ndarray.gpu(0).exist else ("cpu",)


def make_converter(element_types: tuple[str, ...], cutoff: float) -> Converter:
    """From crystals to graphs, as MatGL makes them."""
    return Converter(element_types, cutoff)


def to_graph(crystal: Crystal, converter: Converter) -> Graph:
    """Build a crystal's graph, on the CPU."""
    return converter(crystal)


def native(batch: CrystalBatch) -> dgl.DGLGraph:
    """The batch as the graph object that MatGL's models take, positions not yet computed."""
    # MatGL's own converter makes int32 graphs, and its three-body code counts on that.
    source, destination = batch.edge_index.int()
    g = dgl.graph((source, destination), num_nodes=len(batch.node_type))
    g.set_batch_num_nodes(batch.n_atoms)
    g.set_batch_num_edges(batch.n_edges)
    g.ndata["node_type"] = batch.node_type.int()
    g.ndata["frac_coords"] = batch.frac_coords
    g.edata["pbc_offset"] = batch.pbc_offset
    return g


def run_model(model: nn.Module, batch: CrystalBatch, state: Tensor | None) -> Tensor:
    """One forward pass of a MatGL model. Returns its output as it comes."""
    g = native(batch)
    g.ndata["pos"] = batch.positions()
    g.edata["pbc_offshift"] = batch.edge_shifts(g.ndata["pos"])
    with crystal_by_crystal(model), _default_dtype(batch.frac_coords.dtype):
        return model(g=g, state_attr=state)


def run_potential(potential: Potential, batch: CrystalBatch, state: Tensor | None) -> tuple[Tensor, ...]:
    """Energies (eV), forces (eV/Å), stresses (GPa, ``(3B, 3)``) of a MatGL ``Potential``."""
    with crystal_by_crystal(potential), _default_dtype(batch.frac_coords.dtype):
        return potential(native(batch), batch.lattice, state)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """MatGL 2.2 casts what it embeds to its global default, whatever the model's own precision."""
    before = matgl.float_th
    matgl.float_th = dtype
    try:
        yield
    finally:
        matgl.float_th = before


def atoms_per_graph(g: dgl.DGLGraph) -> Tensor:
    """Number of atoms of each crystal of a native graph, shape ``(B,)``."""
    return g.batch_num_nodes()
