"""Views that make fakes of a crystal, and the one that draws numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, nacl, skewed

from matgl_ssl.backends import EDGE_VECTOR, NORMAL, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.views import (
    DrawNormal,
    PermuteNeighbours,
    ReplaceElements,
    StrainLattice,
    View,
    sample_generator,
)

BUILD = GraphBuilder(ELEMENTS, 4.5)


def apply(view: View, crystal: Crystal, sample: int = 0):
    rng = sample_generator(0, 0, sample, view.stream)
    return view.on_graph(BUILD(view.on_crystal(crystal, rng)), rng)


def test_drawn_numbers_are_standard_normal_and_come_with_the_batch():
    view = DrawNormal(per_atom=32, per_crystal=64)
    batch = collate([apply(view, skewed(), i) for i in range(100)])
    for numbers, shape in ((batch.atom[NORMAL], (600, 32)), (batch.labels[NORMAL], (100, 64))):
        assert numbers.shape == shape
        assert abs(float(numbers.mean())) < 0.03
        assert float(numbers.std()) == pytest.approx(1, abs=0.03)
    # A crystal's numbers are its own, whatever batch it is in.
    alone = collate([apply(view, skewed(), 7)])
    assert torch.equal(alone.atom[NORMAL], batch.atom[NORMAL][42:48])
    assert torch.equal(alone.labels[NORMAL][0], batch.labels[NORMAL][7])
    plain = apply(DrawNormal(), skewed())
    assert not plain.atom
    assert not plain.labels


def test_every_element_becomes_another_with_equal_chance():
    view = ReplaceElements(n_elements=len(ELEMENTS))
    before = BUILD(skewed()).node_type
    counts = np.zeros(len(ELEMENTS))
    for i in range(600):
        graph = apply(view, skewed(), i)
        assert not (graph.node_type == before).any()
        # The same partition of sites into elements.
        assert torch.equal(graph.node_type[:, None] == graph.node_type, before[:, None] == before)
        counts[int(graph.node_type[0])] += 1
    others = np.delete(counts, ELEMENTS.index("Si"))
    assert np.abs(others - 60).max() < 4 * np.sqrt(60)
    graph = apply(view, skewed())
    assert graph.node_type.dtype == before.dtype
    assert torch.equal(graph.edge_index, BUILD(skewed()).edge_index)


def test_strain_is_symmetric_and_logarithmic():
    view = StrainLattice(sigma=0.3)
    strains = []
    for i in range(400):
        crystal = view.on_crystal(skewed(), sample_generator(0, 0, i, view.stream))
        stretch = np.linalg.solve(skewed().lattice, crystal.lattice)
        np.testing.assert_allclose(stretch, stretch.T, atol=1e-12)
        values, axes = np.linalg.eigh(stretch)
        assert values.min() > 0
        strains.append((axes * np.log(values)) @ axes.T)
        np.testing.assert_array_equal(crystal.frac_coords, skewed().frac_coords)
    upper = np.array(strains)[:, *np.triu_indices(3)]
    np.testing.assert_allclose(upper.std(0), 0.3, rtol=0.2)
    np.testing.assert_allclose(upper.mean(0), 0, atol=4 * 0.3 / 20)


@pytest.mark.parametrize("crystal", [nacl(), skewed(), cscl(), iron()], ids=lambda c: c.id)
def test_permuted_neighbours_keep_every_atoms_set_of_vectors(crystal):
    graph = apply(PermuteNeighbours(), crystal)
    before, after = collate([BUILD(crystal)]).edge_vectors(), graph.edge[EDGE_VECTOR]
    assert not torch.equal(before, after)
    for atom in range(len(crystal)):
        own = graph.edge_index[0] == atom
        key = [sorted(map(tuple, v[own].tolist())) for v in (before, after)]
        assert key[0] == key[1]


def test_permutations_are_uniform():
    """Each of iron's 14 edges goes to each place equally often."""
    before = collate([BUILD(iron())]).edge_vectors()
    n = len(before)
    counts = torch.zeros(n, n)
    for i in range(700):
        after = apply(PermuteNeighbours(), iron(), i).edge[EDGE_VECTOR]
        counts += torch.cdist(after, before) < 1e-6
    assert float((counts - 700 / n).abs().max()) < 5 * np.sqrt(700 / n)
