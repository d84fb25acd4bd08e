"""Perturbed, grown and thinned crystals, and hidden edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, make_batch, nacl, rattled, skewed, small_encoder, supercell

from matgl_ssl.backends import HIDDEN, MASK
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.errors import ConfigError
from matgl_ssl.views import (
    Compose,
    DropEdges,
    HideEdges,
    MaskAtoms,
    Perturb,
    Supercell,
    View,
    edge_pairs,
    masked,
    one_direction,
    sample_generator,
)  # fmt: skip
from matgl_ssl.views.mask_magnetic_sites import MAGNETIC

BUILD = GraphBuilder(ELEMENTS, 4.5)
CRYSTALS = [nacl(), cscl(), iron(), skewed()]


def apply(view: View, crystal: Crystal, *, epoch: int = 0, sample: int = 0):
    rng = sample_generator(0, epoch, sample, view.stream)
    return view.on_graph(BUILD(view.on_crystal(crystal, rng)), rng)


def edges(graph) -> list[tuple[float, ...]]:
    return list(zip(*graph.edge_index.tolist(), *graph.pbc_offset.T.tolist(), strict=True))


def reverse(edge: tuple[float, ...]) -> tuple[float, ...]:
    source, destination, *offset = edge
    return (destination, source, *(-o for o in offset))


def chain(n: int) -> Crystal:
    frac = np.zeros((n, 3))
    frac[:, 2] = np.arange(n) / n
    return Crystal(np.full(n, 26), frac, np.diag([2.5, 2.5, 2.5 * n]))


# --- perturb


def moves(view: Perturb, crystal: Crystal, samples: int) -> np.ndarray:
    found = []
    for sample in range(samples):
        moved = view.on_crystal(crystal, sample_generator(0, 0, sample, view.stream))
        np.testing.assert_array_equal(moved.lattice, crystal.lattice)
        found.append((moved.frac_coords - crystal.frac_coords) @ crystal.lattice)
    return np.concatenate(found)


def test_atoms_move_between_the_shortest_and_the_longest_displacement():
    vectors = moves(Perturb(), supercell(skewed(), (2, 2, 2)), 50)
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.min() >= 0.1 - 1e-9
    assert lengths.max() <= 0.5 + 1e-9
    # Uniform in length: Kolmogorov's distance from the uniform distribution, and isotropic in direction.
    n = len(lengths)
    uniform = (np.sort(lengths) - 0.1) / 0.4
    assert np.abs(uniform - (np.arange(n) + 0.5) / n).max() < 1.6 / np.sqrt(n)
    direction = vectors / lengths[:, None]
    assert np.abs(direction.mean(0)).max() < 4 / np.sqrt(3 * n)
    np.testing.assert_allclose(direction.T @ direction / n, np.eye(3) / 3, atol=4 * np.sqrt(4 / 45 / n))


def test_displacements_are_those_of_pymatgen():
    structure = supercell(nacl(), (2, 2, 2)).to_structure()
    theirs = []
    for seed in range(20):
        moved = structure.copy().perturb(0.05, min_distance=0.0, seed=seed)
        theirs += [a.distance(b) for a, b in zip(structure, moved, strict=True)]
    ours = np.linalg.norm(moves(Perturb(distance=0.05, min_distance=0.0), supercell(nacl(), (2, 2, 2)), 20), axis=1)
    n = len(theirs)
    assert n == len(ours) == 1280
    grid = np.linspace(0, 0.05, 50)
    apart = np.abs(np.searchsorted(np.sort(theirs), grid) - np.searchsorted(np.sort(ours), grid)).max() / n
    assert apart < 1.95 * np.sqrt(2 / n)  # two-sample Kolmogorov-Smirnov at 0.1 %


def test_the_graph_is_that_of_the_moved_crystal_and_the_crystal_given_stays():
    crystal = skewed()
    before = crystal.frac_coords.copy()
    view = Perturb()
    graph = apply(view, crystal)
    np.testing.assert_array_equal(crystal.frac_coords, before)
    assert edges(graph) == edges(BUILD(view.on_crystal(crystal, sample_generator(0, 0, 0, view.stream))))
    assert edges(graph) != edges(BUILD(crystal))


def test_a_one_atom_cell_is_only_shifted():
    encoder = small_encoder("M3GNet")
    moved = Perturb().on_crystal(iron(), np.random.default_rng(0))
    there, here = (encoder(make_batch(encoder, [c])).node[-1] for c in (moved, iron()))
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


def test_impossible_displacements_are_refused():
    with pytest.raises(ConfigError, match="min_distance"):
        Perturb(distance=0.1, min_distance=0.2)


# --- pairs of edges


@pytest.mark.parametrize("crystal", [*CRYSTALS, rattled(skewed(), 0.3)], ids=lambda c: c.id)
def test_a_pair_is_an_edge_and_its_reverse(crystal):
    graph = BUILD(crystal)
    listed = edges(graph)
    pairs = edge_pairs(graph)
    members: dict[int, list] = {}
    for edge, pair in zip(listed, pairs.tolist(), strict=True):
        members.setdefault(pair, []).append(edge)
    assert set(members) == set(range(len(listed) // 2))
    assert all(b == reverse(a) for a, b in members.values())
    chosen = one_direction(graph.edge_index, graph.pbc_offset)
    assert sorted(pairs[chosen.numpy()]) == list(range(len(listed) // 2))


def test_no_edges_no_pairs():
    graph = BUILD(nacl())
    graph.edge_index, graph.pbc_offset = graph.edge_index[:, :0], graph.pbc_offset[:0]
    assert len(edge_pairs(graph)) == 0


# --- dropped edges


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda c: c.id)
def test_edges_go_in_pairs_and_every_atom_keeps_its_nearest_neighbour(crystal, fraction):
    whole = BUILD(crystal)
    lengths = make_batch(small_encoder("MEGNet", cutoff=4.5), [crystal]).edge_vectors().norm(dim=1)
    for sample in range(5):
        left = edges(apply(DropEdges(fraction=fraction), crystal, sample=sample))
        assert [e for e in edges(whole) if e in set(left)] == left, "the order has changed"
        assert {reverse(e) for e in left} == set(left)
        kept = torch.tensor([e in set(left) for e in edges(whole)])
        for atom in range(len(crystal)):
            own = whole.edge_index[0] == atom
            assert float(lengths[own & kept].min()) == pytest.approx(float(lengths[own].min()), abs=1e-5)


def test_the_share_of_dropped_edges_is_right_on_average():
    n = len(edges(BUILD(skewed())))
    left = [len(edges(apply(DropEdges(fraction=0.13), skewed(), sample=i))) for i in range(300)]
    assert 1 - np.mean(left) / n == pytest.approx(0.13, abs=4 * 2 * 0.5 / n / np.sqrt(300))
    assert max(left) - min(left) == 2


def test_notes_on_edges_go_with_them():
    view = Compose(views=(MaskAtoms(fraction=0.5), HideEdges(), DropEdges(fraction=0.4)))
    graph = apply(view, skewed())
    assert graph.edge[HIDDEN].shape == (graph.edge_index.shape[1],)
    assert torch.equal(graph.edge[HIDDEN], graph.atom[MASK][graph.edge_index].any(0))


# --- hidden edges


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda c: c.id)
def test_the_edges_of_masked_atoms_are_hidden(crystal):
    graph = apply(Compose(views=(MaskAtoms(), HideEdges())), crystal)
    hidden = {i for i, m in enumerate(graph.atom[MASK].tolist()) if m}
    expected = [s in hidden or d in hidden for s, d in graph.edge_index.T.tolist()]
    assert graph.edge[HIDDEN].tolist() == expected
    assert any(expected)


def test_a_share_of_edges_is_hidden_in_pairs():
    shares = []
    for sample in range(200):
        graph = apply(HideEdges(fraction=0.2), skewed(), sample=sample)
        hidden = {e for e, h in zip(edges(graph), graph.edge[HIDDEN].tolist(), strict=True) if h}
        assert {reverse(e) for e in hidden} == hidden
        shares.append(len(hidden) / len(edges(graph)))
    assert np.mean(shares) == pytest.approx(0.2, abs=0.005)


# --- supercells


def test_supercells_are_the_published_ones_and_no_larger_than_allowed():
    grown = [Supercell(max_atoms=24).on_crystal(skewed(), np.random.default_rng(i)) for i in range(60)]
    assert {len(c) for c in grown} == {6, 12, 24}
    assert {len(Supercell(max_atoms=100).on_crystal(skewed(), np.random.default_rng(i))) for i in range(60)} == {
        6, 12, 24, 48,
    }  # fmt: skip
    assert len(Supercell(max_atoms=3).on_crystal(skewed(), np.random.default_rng(0))) == 6
    assert all(c.volume / len(c) == pytest.approx(skewed().volume / 6) for c in grown)


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_a_supercell_is_the_same_crystal(name):
    encoder = small_encoder(name, **({"threebody_cutoff": 5.0} if name == "M3GNet" else {}))
    grown = next(
        c for c in (Supercell().on_crystal(skewed(), np.random.default_rng(i)) for i in range(9)) if len(c) == 24
    )
    batches = [make_batch(encoder, [c]) for c in (skewed(), grown)]
    small, large = (b.mean_over_atoms(encoder(b).node[-1]) for b in batches)
    torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-4)


def test_labels_of_atoms_grow_with_the_cell():
    labels = {"forces": np.arange(6.0).reshape(2, 3), "atom:x": np.arange(2.0), "gap": 5.0, "atom:none": None}
    crystal = dataclasses.replace(cscl(), labels=labels)
    grown = next(c for c in (Supercell().on_crystal(crystal, np.random.default_rng(i)) for i in range(9)) if len(c) > 2)
    images = len(grown) // 2
    np.testing.assert_array_equal(grown.labels["forces"], np.tile(labels["forces"], (images, 1)))
    np.testing.assert_array_equal(grown.labels["atom:x"], np.tile([0.0, 1.0], images))
    assert grown.labels["gap"] == 5.0
    assert grown.labels["atom:none"] is None
    assert grown.numbers.tolist() == crystal.numbers.tolist() * images


# --- counts of masked atoms


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 1), (9, 1), (10, 1), (19, 1), (20, 2), (35, 3)])
def test_the_published_count_of_crystal_twins(n, expected):
    assert int(apply(MaskAtoms(fraction=0.1, count="crystal-twins"), chain(n)).atom[MASK].sum()) == expected


@pytest.mark.parametrize("n", [1, 2, 3, 8, 25])
def test_the_unbiased_count_is_right_on_average_and_spares_one_atom(n):
    view = MaskAtoms(fraction=0.1, count="unbiased")
    counts = [int(apply(view, chain(n), sample=i).atom[MASK].sum()) for i in range(400)]
    assert max(counts) <= max(0, n - 1)
    assert np.mean(counts) == pytest.approx(0.1 * n if n > 1 else 0.0, abs=4 * 0.5 / 20)
    assert len(set(counts)) <= 2


@pytest.mark.parametrize(
    ("numbers", "magnetic", "others"),
    [
        ([26, 8], 1, 1),
        ([26, 26, 26, 8, 8], 2, 2),
        ([26] * 6 + [8], 4, 1),  # fewer others than that
        ([26], 1, 0),
        ([11, 17] * 5, 0, 2),  # nothing magnetic: int(0.15 N + 1)
    ],
)
@pytest.mark.parametrize("distances", ["visible", "hidden"])
def test_half_of_the_magnetic_sites_and_one_and_as_many_others_are_masked(numbers, magnetic, others, distances):
    crystal = dataclasses.replace(chain(len(numbers)), numbers=np.array(numbers), labels={"gap": 1.0})
    view = masked(0.15, sites="magnetic", distances=distances)
    drawn = [apply(view, crystal, sample=i) for i in range(20)]
    is_magnetic = np.isin(numbers, MAGNETIC)
    for graph in drawn:
        mask = graph.atom[MASK].numpy()
        assert (mask[is_magnetic].sum(), mask[~is_magnetic].sum()) == (magnetic, others)
        assert list(graph.labels) == ["gap"]
    n = len({tuple(graph.atom[MASK].tolist()) for graph in drawn})
    assert (n > 1) == (len(numbers) > magnetic + others)


def test_equal_masked_views_are_one():
    assert masked(0.15) == MaskAtoms()
    several = [
        masked(0.15, **more) for more in ({}, {"distances": "hidden"}, {"resample": "never"}, {"sites": "magnetic"})
    ]
    assert len(set(several)) == len({view.stream for view in several}) == 4
    assert masked(0.15, distances="hidden") == masked(0.15, distances="hidden")
    assert masked(0.15, distances="hidden", resample="never").static


@pytest.mark.parametrize(
    "view", [Perturb(), DropEdges(fraction=0.4), HideEdges(fraction=0.4), Supercell(max_atoms=50)], ids=str
)
def test_a_sample_is_a_function_of_seed_epoch_and_row(view):
    def drawn(**where):
        graph = apply(view, skewed(), **where)
        return (*edges(graph), *graph.frac_coords.flatten().tolist(), *[e.tolist() for e in graph.edge.values()])

    assert drawn(epoch=1, sample=2) == drawn(epoch=1, sample=2)
    assert len({str(drawn(epoch=e, sample=s)) for e in range(3) for s in range(3)}) > 1
