"""Views: what they change, what they write down, and that their randomness is f(seed, epoch, sample, view)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, nacl, skewed, supercell

from matgl_ssl.backends import MASK, NOISE, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.training.loader import SeededLoader, ViewDataset
from matgl_ssl.views import DisplaceAtoms, MaskAtoms, View, sample_generator

BUILD = GraphBuilder(ELEMENTS, 4.5)


def apply(view: View, crystal: Crystal, seed: int = 0, epoch: int = 0, sample: int = 0):
    rng = sample_generator(seed, epoch, sample, view.stream)
    return view.on_graph(BUILD(view.on_crystal(crystal, rng)), rng)


def chain(n: int) -> Crystal:
    frac = np.zeros((n, 3))
    frac[:, 2] = np.arange(n) / n
    return Crystal(np.full(n, 26), frac, np.diag([2.5, 2.5, 2.5 * n]))


@pytest.mark.parametrize(
    ("n", "fraction", "expected"),
    [(1, 0.15, 1), (2, 0.15, 1), (6, 0.15, 1), (7, 0.15, 2), (13, 0.15, 2), (14, 0.15, 3), (20, 0.15, 4), (2, 0.9, 2)],
)
def test_the_number_of_masked_atoms_is_that_of_dssl(n, fraction, expected):
    mask = apply(MaskAtoms(fraction=fraction), chain(n)).atom[MASK]
    assert mask.dtype == torch.bool
    assert mask.shape == (n,)
    assert int(mask.sum()) == expected == min(n, int(fraction * n + 1))


def test_every_atom_is_masked_equally_often():
    masks = torch.stack([apply(MaskAtoms(), chain(20), sample=i).atom[MASK] for i in range(500)]).double().mean(0)
    assert float(masks.mean()) == pytest.approx(0.2)
    assert float((masks - 0.2).abs().max()) < 4 * np.sqrt(0.2 * 0.8 / 500)


@pytest.mark.parametrize("view", [MaskAtoms(), DisplaceAtoms(), DisplaceAtoms(topology="clean")], ids=str)
def test_a_sample_is_a_function_of_seed_epoch_index_and_view(view):
    def drawn(view=view, **where) -> torch.Tensor:
        return next(iter(apply(view, chain(60), **where).atom.values()))

    expected = drawn(seed=1, epoch=2, sample=3)
    assert torch.equal(drawn(seed=1, epoch=2, sample=3), expected)
    for other in ({"seed": 0}, {"epoch": 0}, {"sample": 0}):
        assert not torch.equal(drawn(**{"seed": 1, "epoch": 2, "sample": 3, **other}), expected)
    again = dataclasses.replace(view, draw=1)
    assert not torch.equal(drawn(again, seed=1, epoch=2, sample=3), expected)


@pytest.mark.parametrize("view", [MaskAtoms(), DisplaceAtoms(), DisplaceAtoms(topology="clean")], ids=str)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sample_does_not_depend_on_its_batch_or_worker(view, num_workers):
    crystals = CrystalDataset.from_crystals([dataclasses.replace(skewed(), id=str(i)) for i in range(7)])
    data = ViewDataset(crystals, BUILD, [view], seed=4)
    found = {}
    for [batch] in SeededLoader(data, batch_size=3, seed=4, shuffle=True, num_workers=num_workers):
        notes = next(iter(batch.atom.values())).split(batch.n_atoms.tolist())
        found |= dict(zip(batch.ids, notes, strict=True))
    assert len(found) == 7
    for row in range(7):
        expected = next(iter(apply(view, crystals.rows([row])[0], seed=4, sample=row).atom.values()))
        assert torch.equal(found[str(row)], expected)


def test_the_global_random_state_is_neither_read_nor_touched():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    first = apply(DisplaceAtoms(), skewed()).atom[NOISE]
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert torch.equal(apply(DisplaceAtoms(), skewed()).atom[NOISE], first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    np.random.seed(0)  # noqa: NPY002
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_equal_views_are_one_view():
    assert len({MaskAtoms(), MaskAtoms(fraction=0.15), MaskAtoms(fraction=0.3), MaskAtoms(draw=1)}) == 3
    assert MaskAtoms().stream == MaskAtoms(fraction=0.15).stream
    assert MaskAtoms().stream != MaskAtoms(draw=1).stream
    assert View() != MaskAtoms()
    assert len({View().stream, MaskAtoms().stream, DisplaceAtoms().stream, DisplaceAtoms(sigma=0.2).stream}) == 4


def test_the_plain_view_shows_the_crystal_as_it_is():
    graph, expected = apply(View(), skewed()), BUILD(skewed())
    assert torch.equal(graph.frac_coords, expected.frac_coords)
    assert torch.equal(graph.edge_index, expected.edge_index)
    assert graph.atom == {}


@pytest.mark.parametrize("topology", ["rebuild", "clean"])
def test_atoms_move_by_the_noise_that_is_written_down(topology):
    crystal = skewed()
    graph = apply(DisplaceAtoms(sigma=0.1, topology=topology), crystal)
    noise = graph.atom[NOISE].numpy()
    moved = graph.frac_coords.numpy() @ crystal.lattice - crystal.cart_coords
    assert noise.shape == (6, 3)
    assert np.abs(noise).max() > 0.05
    np.testing.assert_allclose(moved, noise, atol=2e-6)
    np.testing.assert_allclose(graph.lattice.numpy(), crystal.lattice, rtol=1e-6)


@pytest.mark.parametrize("topology", ["rebuild", "clean"])
@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_the_noise_is_gaussian_with_the_given_width(topology, sigma):
    crystal = supercell(nacl(), (3, 2, 2))
    view = DisplaceAtoms(sigma=sigma, topology=topology)
    noise = torch.cat([apply(view, crystal, sample=i).atom[NOISE] for i in range(15)]).double()
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 * sigma / np.sqrt(n)
    assert float(noise.std()) == pytest.approx(sigma, rel=4 / np.sqrt(2 * n))
    assert float(noise.abs().mean()) == pytest.approx(sigma * np.sqrt(2 / np.pi), rel=0.05)
    correlation = torch.corrcoef(noise.T)
    assert float((correlation - torch.eye(3)).abs().max()) < 4 / np.sqrt(n / 3)


def edges(graph) -> list[tuple[float, ...]]:
    return sorted(zip(*graph.edge_index.tolist(), *graph.pbc_offset.T.tolist(), strict=True))


def test_a_rebuilt_topology_is_that_of_the_moved_crystal():
    crystal = skewed()
    graph = apply(DisplaceAtoms(sigma=0.3, topology="rebuild"), crystal)
    frac = crystal.frac_coords + graph.atom[NOISE].double().numpy() @ np.linalg.inv(crystal.lattice)
    assert edges(graph) == edges(BUILD(dataclasses.replace(crystal, frac_coords=frac)))
    assert edges(graph) != edges(BUILD(crystal))


def test_a_clean_topology_is_that_of_the_crystal_at_rest():
    crystal = skewed()
    graph = apply(DisplaceAtoms(sigma=0.3, topology="clean"), crystal)
    assert edges(graph) == edges(BUILD(crystal))


@pytest.mark.parametrize("topology", ["rebuild", "clean"])
def test_the_crystal_given_is_not_changed_and_its_labels_stay(topology):
    crystal = dataclasses.replace(cscl(), labels={"gap": 5.0})
    before = crystal.frac_coords.copy()
    graph = apply(DisplaceAtoms(topology=topology), crystal)
    np.testing.assert_array_equal(crystal.frac_coords, before)
    assert dict(crystal.labels) == {"gap": 5.0}
    assert dict(graph.labels) == {"gap": 5.0}
    assert "noise" not in collate([graph]).labels


def test_a_one_atom_crystal_can_be_masked_and_moved():
    assert apply(MaskAtoms(), iron()).atom[MASK].tolist() == [True]
    assert apply(DisplaceAtoms(), iron()).atom[NOISE].shape == (1, 3)
