"""Batches by cost: known beforehand, resumable, and shared by all processes."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, skewed, supercell

from matgl_ssl import pretrain
from matgl_ssl.backends import collate
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.errors import ConfigError
from matgl_ssl.training.loader import SeededLoader, ViewDataset
from matgl_ssl.training.order import BatchOrder, shares
from matgl_ssl.views import DisplaceAtoms, MaskAtoms, View

LIMIT = 900
N = 13


@pytest.fixture(scope="module")
def crystals() -> CrystalDataset:
    """Small crystals, some of a few hundred edges, and one above any limit."""
    kinds = (cscl(), iron(), skewed(), supercell(skewed(), (2, 1, 1)))
    large = dataclasses.replace(supercell(skewed(), (3, 3, 3)), id="large")
    return CrystalDataset.from_crystals([*(dataclasses.replace(kinds[i % 4], id=str(i)) for i in range(N - 1)), large])


@pytest.fixture(scope="module")
def data(crystals) -> ViewDataset:
    return ViewDataset(crystals, GraphBuilder(ELEMENTS, 4.0), [View(), MaskAtoms()], seed=7)


def loader(data, **changes) -> SeededLoader:
    return SeededLoader(data, **{"batch_size": 4, "seed": 7, "shuffle": True, "max_edges": LIMIT, **changes})


def order(edges, **changes) -> BatchOrder:
    return BatchOrder(edges, **{"batch_size": 6, "max_edges": 300, "seed": 1, "shuffle": True, **changes})


def ids(loader) -> list[tuple[str, ...]]:
    return [tuple(batch.ids) for batch, _ in loader]


def test_every_crystal_comes_once_an_epoch_and_the_large_one_alone(data):
    train = loader(data)
    for epoch in range(4):
        assert len(train) == train.order.n_batches(epoch)
        batches = ids(train)
        assert len(batches) == train.order.n_batches(epoch)
        assert sorted(i for batch in batches for i in batch) == sorted(data.crystals.ids)
        assert ("large",) in batches
        assert max(map(len, batches)) <= 4
        edges = dict(zip(data.crystals.ids, data.edges.tolist(), strict=True))
        assert all(sum(edges[i] for i in batch) <= LIMIT for batch in batches if batch != ("large",))


def test_epochs_differ_in_length_and_their_sum_is_known_beforehand(data):
    train = loader(data)
    expected = train.steps(8)
    lengths = [len(ids(train)) for _ in range(8)]
    assert len(set(lengths)) > 1
    assert sum(lengths) == expected
    assert loader(data).steps(0) == 0


def test_a_limit_out_of_reach_changes_nothing(data):
    plain = [list(loader(data, max_edges=10**9).order.batches(epoch)) for epoch in range(3)]
    assert [list(loader(data, max_edges=None).order.batches(epoch)) for epoch in range(3)] == plain
    permuted = np.random.default_rng([7, 2]).permutation(N).tolist()
    assert plain[2] == [[(2, row) for row in permuted[i : i + 4]] for i in range(0, N, 4)]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("after", [0, 3, 5, 7, 11])
def test_a_loader_goes_on_where_another_one_stopped(data, num_workers, after):
    whole = loader(data)
    expected = [batch for _ in range(3) for batch in ids(whole)]
    stopped, taken = loader(data, num_workers=num_workers), []
    while len(taken) < after:
        for batch, _ in stopped:
            taken.append(tuple(batch.ids))
            if len(taken) == after:
                break
    resumed = loader(data, num_workers=1 - num_workers)
    resumed.load_state_dict(stopped.state_dict())
    while len(taken) < len(expected):
        taken += ids(resumed)
    assert taken == expected
    assert resumed.state_dict() == whole.state_dict()


def test_a_loader_can_be_sent_back(data):
    train = loader(data, num_workers=1)
    first = ids(train)
    ids(train)
    train.load_state_dict({"epoch": 0, "batch": 1})
    assert ids(train) == first[1:]


def test_workers_live_on_from_one_epoch_into_the_next(data):
    train = loader(data, num_workers=1)
    train.start()
    (worker,) = multiprocessing.active_children()
    for _ in range(2):
        ids(train)
        assert multiprocessing.active_children() == [worker]
    assert train.waited > 0
    train.close()
    assert not multiprocessing.active_children()
    assert len(ids(train)) == train.order.n_batches(2)


def test_a_worker_that_fails_takes_no_batch_along(data):
    class Failing(ViewDataset):
        broken = True

        def __getitems__(self, items):
            if self.broken and items[0] == first[0]:
                raise RuntimeError("broken")
            return super().__getitems__(items)

    first = next(loader(data).order.batches(0))
    failing = Failing(data.crystals, data.build_graph, data.views, seed=7)
    train = loader(failing)
    with pytest.raises(RuntimeError, match="broken"):
        ids(train)
    failing.broken = False
    assert ids(train) == ids(loader(data))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_every_batch_about_equally(world):
    edges = np.random.default_rng(0).integers(1, 120, 97)
    for epoch in range(4):
        ranks = [list(order(edges, rank=rank, world=world).batches(epoch)) for rank in range(world)]
        whole = list(order(edges).batches(epoch))
        assert [[row for part in step for row in part] for step in zip(*ranks, strict=True)] == whole
        for parts, batch in zip(zip(*ranks, strict=True), whole, strict=True):
            costs = [sum(edges[row] for _, row in part) for part in parts]
            assert max(costs) <= sum(costs) / world + max(edges[row] for _, row in batch)
            assert all(parts) or len(batch) < world


def test_a_batch_of_fewer_crystals_than_ranks_leaves_some_without():
    assert [part.stop - part.start for part in shares(np.array([5, 5]), 4)] == [1, 1, 0, 0]
    assert [part.stop - part.start for part in shares(np.array([9, 1, 1]), 3)] == [1, 1, 1]


def test_the_joint_batches_are_those_of_one_process_with_as_many_crystals(data):
    ranks = [ids(loader(data, batch_size=2, max_edges=LIMIT // 2, ranks=(rank, 2))) for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == ids(loader(data))


def test_a_part_without_crystals_has_the_notes_of_the_others(data):
    [whole], nothing = data.collate(data.__getitems__([(0, 0)]))[1:], data.collate([])
    assert len(nothing[1]) == 0
    assert whole.atom.keys() == nothing[1].atom.keys()
    pickled = pickle.loads(pickle.dumps(nothing[1]))
    assert pickled.edge_index.shape == (2, 0)


@pytest.mark.parametrize("keep", [True, False])
def test_kept_graphs_are_those_that_would_be_built(crystals, monkeypatch, keep):
    views = [View(), MaskAtoms(), DisplaceAtoms()]
    data = ViewDataset(crystals, GraphBuilder(ELEMENTS, 4.0), views, seed=3)
    monkeypatch.setattr(ViewDataset, "keep_at_most", 10**9 if keep else 0)
    kept = ViewDataset(crystals, GraphBuilder(ELEMENTS, 4.0), views, seed=3)
    for epoch in range(3):
        items = [(epoch, row) for row in range(N)]
        once = ViewDataset(crystals, data.build_graph, views, seed=3)
        for found, expected in zip(kept.__getitems__(items), once.__getitems__(items), strict=True):
            for a, b in zip(map(vars, found), map(vars, expected), strict=True):
                assert all(torch.equal(x, b[k]) for k, x in a.items() if isinstance(x, torch.Tensor))
                assert a["atom"].keys() == b["atom"].keys()
                assert all(torch.equal(x, b["atom"][k]) for k, x in a["atom"].items())
    assert len(kept._kept) == (N if keep else 0)


def test_a_batch_comes_out_of_a_pickle_as_it_went_in(data):
    [batch] = {id(b): b for b in next(iter(loader(data, batch_size=3)))[1:]}.values()
    batch.labels = {"gap": torch.tensor([1.0, float("nan"), 3.0], dtype=torch.float64)}
    batch.edge = {"hidden": torch.ones(int(batch.n_edges.sum()), dtype=torch.bool)}
    empty = collate([GraphBuilder(ELEMENTS, 0.5)(iron())])
    for before in (batch, empty):
        after = pickle.loads(pickle.dumps(before))
        assert after.ids == before.ids
        for name, value in vars(before).items():
            values = value if isinstance(value, dict) else {"": value} if name != "ids" else {}
            found = getattr(after, name) if isinstance(value, dict) else {"": getattr(after, name)}
            for key, tensor in values.items():
                assert found[key].dtype == tensor.dtype
                torch.testing.assert_close(found[key], tensor, rtol=0, atol=0, equal_nan=True)


OPTIONS = {"model": "MEGNet", "model_args": {"nblocks": 1}, "batch_size": 16, "n_crystals": 40, "log_every": 1,
           "accelerator": "cpu", "val_fraction": 0.2}  # fmt: skip


def test_a_run_with_a_limit_takes_the_steps_it_counted(corpus: Path, tmp_path):
    out = pretrain(data=str(corpus), out=tmp_path / "run", epochs=4, max_edges=400, num_workers=1, **OPTIONS).out
    with (out / "metrics.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    last = [int(row["step"]) for row in rows if row["epoch"]]
    steps = np.diff([0, *last])
    assert len(steps) == 4
    assert steps.min() > 2  # 32 crystals would be two batches
    assert len(set(steps.tolist())) > 1
    assert [int(row["step"]) for row in rows] == list(range(1, last[-1] + 1))
    assert 0 < float(rows[-1]["lr"]) < 1e-3 * 10 / last[-1] ** 2  # the cosine ends with the last step
    assert all(0 <= float(row["waiting"]) < 1 for row in rows if row["epoch"])


@pytest.mark.parametrize("max_edges", [0, -5, 1.5, "many"])
def test_a_limit_that_makes_no_sense_is_refused(corpus, tmp_path, max_edges):
    with pytest.raises(ConfigError, match="max_edges"):
        pretrain(data=str(corpus), out=tmp_path / "run", max_edges=max_edges, **OPTIONS)
    assert not (tmp_path / "run").exists()
