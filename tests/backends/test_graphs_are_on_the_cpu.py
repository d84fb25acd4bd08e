"""Graphs are built on the CPU, whatever MatGL's extras or torch's defaults say."""

from __future__ import annotations

import pytest
import torch
from small_systems import ELEMENTS, nacl, skewed

from matgl_ssl.backends import collate
from matgl_ssl.devices import WITHOUT_FLOAT64, fit_to, moved
from matgl_ssl.encoders import GraphBuilder


@pytest.mark.pyg
def test_matgls_gpu_neighbour_list_is_not_asked(monkeypatch):
    """With ``matgl[alchmtk]`` on a CUDA machine, MatGL's converter returns tensors of the GPU."""
    from matgl.ext import pymatgen as module

    expected = GraphBuilder(ELEMENTS, 4.5)(skewed())

    def neighbor_list_from_structure(structure, cutoff, compute_distances=True, density_guess=0.3, device=None):
        ends = torch.zeros(3, dtype=torch.int32, device="meta")
        return ends, ends, None, torch.zeros(3, 3, dtype=torch.int32, device="meta"), torch.zeros(1, 3, device="meta")

    monkeypatch.setattr(module, "_alchmtk_available", True)
    monkeypatch.setattr(module, "neighbor_list_from_structure", neighbor_list_from_structure, raising=False)
    g, _, _ = module.Structure2Graph(ELEMENTS, 4.5).get_graph(skewed().to_structure())
    assert g.edge_index.device.type == "meta"  # this is what must not reach the loaders
    found = GraphBuilder(ELEMENTS, 4.5)(skewed())
    for name in ("node_type", "frac_coords", "lattice", "edge_index", "pbc_offset"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_torchs_default_device_is_not_asked():
    build = GraphBuilder(ELEMENTS, 4.5)
    with torch.device("meta"):
        batch = collate([build(nacl()), build(skewed())])
    tensors = [v for v in vars(batch).values() if isinstance(v, torch.Tensor)]
    assert {t.device.type for t in tensors} == {"cpu"}
    assert batch.batch.tolist() == [0] * len(nacl()) + [1] * len(skewed())


def test_where_there_is_no_float64_numbers_are_moved_in_float32(monkeypatch):
    monkeypatch.setattr("matgl_ssl.devices.WITHOUT_FLOAT64", {*WITHOUT_FLOAT64, "meta"})
    assert moved(torch.zeros(2, dtype=torch.float64), "meta").dtype == torch.float32
    assert moved(torch.zeros(2, dtype=torch.int64), "meta").dtype == torch.int64
    assert moved(torch.zeros(2, dtype=torch.float64), "cpu").dtype == torch.float64
    module = torch.nn.BatchNorm1d(2).double()
    assert {t.dtype for t in fit_to(module, torch.device("meta")).state_dict().values()} == {torch.float32, torch.int64}
