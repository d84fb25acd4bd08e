"""Batches filled to a number of edges, known before any graph is built."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from small_systems import ELEMENTS, cscl, iron, nacl, skewed, some_crystals, supercell

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.batching import ORDINARY, batch_bounds, consecutive_batches, estimated_edges, ordinary_limit
from matgl_ssl.encoders import GraphBuilder


@pytest.mark.parametrize("cutoff", [4.0, 6.0])
def test_the_estimate_is_close_to_the_edges_of_the_graphs(cutoff):
    crystals = [*some_crystals(), supercell(skewed(), (2, 1, 3))]
    build = GraphBuilder(ELEMENTS, cutoff)
    exact = np.array([build(crystal).edge_index.shape[1] for crystal in crystals])
    estimate = estimated_edges(CrystalDataset.from_crystals(crystals), cutoff)
    assert estimate.dtype == np.int32
    np.testing.assert_allclose(estimate, exact, rtol=0.65)  # a crystal of one atom is the worst
    assert estimate.sum() == pytest.approx(exact.sum(), rel=0.15)
    assert estimate[-1] == pytest.approx(6 * estimate[-2], abs=6)


def test_sizes_and_volumes_are_those_of_the_crystals():
    crystals = [nacl(), skewed(), iron()]
    table = CrystalDataset.from_crystals(crystals)
    for rows in ([0, 1, 2], [2, 0], []):
        part = table.select(rows)
        assert part.sizes().tolist() == [len(crystals[i]) for i in rows]
        np.testing.assert_allclose(part.volumes(), [crystals[i].volume for i in rows])


@pytest.mark.parametrize(
    ("edges", "batch_size", "max_edges", "bounds"),
    [
        ([1, 1, 1, 1, 1], 2, 100, [0, 2, 4, 5]),
        ([1, 1, 1, 1, 1], 9, 3, [0, 3, 5]),
        ([1, 50, 1, 1], 9, 10, [0, 1, 2, 4]),
        ([50, 50], 9, 10, [0, 1, 2]),
        ([5, 5, 5, 5], 9, 10, [0, 2, 4]),
        ([], 3, 10, [0]),
    ],
)
def test_a_batch_is_full_by_number_or_by_edges_and_a_large_crystal_is_alone(edges, batch_size, max_edges, bounds):
    assert batch_bounds(np.array(edges, dtype=np.int64), batch_size, max_edges).tolist() == bounds


def test_no_random_batch_exceeds_its_limits_and_none_could_take_the_next_crystal():
    rng = np.random.default_rng(0)
    for _ in range(20):
        edges = rng.integers(1, 60, 200)
        bounds = batch_bounds(edges, 7, 150)
        assert (bounds[0], bounds[-1]) == (0, 200)
        for start, stop in pairwise(bounds):
            assert 1 <= stop - start <= 7
            assert edges[start:stop].sum() <= 150
            assert stop == 200 or stop - start == 7 or edges[start : stop + 1].sum() > 150


def test_the_ordinary_limit_is_out_of_reach_of_ordinary_crystals():
    assert ordinary_limit(np.full(1000, 100), 64) == ORDINARY
    assert ordinary_limit(np.full(1000, 4000), 64) == 2 * 64 * 4000
    assert ordinary_limit(np.zeros(0, dtype=np.int64), 64) == ORDINARY


def test_consecutive_batches_hold_a_large_cell_apart(monkeypatch):
    table = CrystalDataset.from_crystals([cscl(), cscl(), supercell(skewed(), (4, 4, 4)), cscl(), cscl()])
    assert consecutive_batches(table, 3, 5.0) == [range(3), range(3, 5)]
    monkeypatch.setattr("matgl_ssl.crystals.batching.ordinary_limit", lambda edges, batch_size: 1000)
    assert consecutive_batches(table, 3, 5.0) == [range(2), range(2, 3), range(3, 5)]
