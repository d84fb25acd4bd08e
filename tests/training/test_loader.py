"""The loader: every crystal once an epoch, in an order that is f(seed, epoch), resumable anywhere."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_systems import ELEMENTS, cscl, iron, skewed

from matgl_ssl.backends import NOISE
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.training.loader import Samples, SeededLoader, ViewDataset
from matgl_ssl.views import DisplaceAtoms, MaskAtoms, View

N = 11


@pytest.fixture(scope="module")
def data() -> ViewDataset:
    crystals = [dataclasses.replace((cscl(), iron(), skewed())[i % 3], id=str(i)) for i in range(N)]
    views = [View(), DisplaceAtoms()]
    return ViewDataset(CrystalDataset.from_crystals(crystals), GraphBuilder(ELEMENTS, 4.0), views, seed=7)


def loader(data, **changes) -> SeededLoader:
    return SeededLoader(data, **{"batch_size": 3, "seed": 7, "shuffle": True, **changes})


def seen(batches) -> list[tuple[tuple[str, ...], torch.Tensor]]:
    return [(tuple(b[0].ids), b[1].atom[NOISE]) for b in batches]


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(first, second, strict=True)
    )


def test_each_epoch_shows_each_crystal_once_in_another_order(data):
    train = loader(data)
    orders = []
    for _ in range(3):
        batches = seen(train)
        assert [len(ids) for ids, _ in batches] == [3, 3, 3, 2]
        orders.append([i for ids, _ in batches for i in ids])
        assert sorted(orders[-1], key=int) == [str(i) for i in range(N)]
    assert len({tuple(order) for order in orders}) == 3
    assert len(train) == 4


def test_the_order_is_a_function_of_seed_and_epoch(data):
    first, second, other = loader(data), loader(data), loader(data, seed=8)
    order = list(first.order.batches(5))
    assert order == list(second.order.batches(5))
    assert order != list(first.order.batches(6))
    assert order != list(other.order.batches(5))
    assert {epoch for batch in order for epoch, _ in batch} == {5}


def test_samples_are_drawn_anew_each_epoch(data):
    train = loader(data)
    first, second = ({i: n for ids, noise in seen(train) for i, n in [(ids, noise)]} for _ in range(2))
    assert not any(torch.equal(a, b) for a in first.values() for b in second.values() if a.shape == b.shape)


def test_all_views_of_a_batch_show_the_same_crystals(data):
    for plain, displaced in loader(data):
        assert plain.ids == displaced.ids
        assert torch.equal(plain.node_type, displaced.node_type)
        moved = torch.einsum("ni,nij->nj", displaced.frac_coords - plain.frac_coords, plain.lattice[plain.batch])
        torch.testing.assert_close(moved, displaced.atom[NOISE], rtol=0, atol=3e-6)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("after", [0, 1, 3, 4, 5, 8])
def test_a_loader_goes_on_where_another_one_stopped(data, num_workers, after):
    """After no batch, in the middle, at an epoch's last batch, and beyond it."""
    whole = loader(data)
    expected = [x for _ in range(3) for x in seen(whole)]
    assert whole.state_dict() == {"epoch": 2, "batch": 4}

    stopped, taken = loader(data, num_workers=num_workers), []
    while len(taken) < after:
        for batch in stopped:
            taken += seen([batch])
            if len(taken) == after:
                break
    assert same(taken, expected[:after])

    resumed = loader(data, num_workers=2 - num_workers)
    resumed.load_state_dict(stopped.state_dict())
    rest = []
    while len(rest) < len(expected) - after:
        rest += seen(resumed)
    assert same(rest, expected[after:])
    assert resumed.state_dict() == whole.state_dict()


def test_an_iterator_that_is_made_and_dropped_skips_nothing(data):
    train = loader(data)
    iter(train)
    iter(train)
    assert same(seen(train), seen(loader(data)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_validation_loader_is_the_same_every_time(data, num_workers):
    val = loader(data, shuffle=False, num_workers=num_workers)
    first = seen(val)
    assert [i for ids, _ in first for i in ids] == [str(i) for i in range(N)]
    assert same(seen(val), first)
    assert same(seen(loader(data, shuffle=False)), first)


def test_loading_draws_nothing_from_the_global_random_state(data):
    before = torch.get_rng_state()
    list(loader(data))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_smaller_than_the_data_and_one_larger_are_fine(data):
    assert [len(ids) for ids, _ in seen(loader(data, batch_size=1))] == [1] * N
    assert [len(ids) for ids, _ in seen(loader(data, batch_size=99))] == [N]


def test_workers_leave_signals_to_the_training_process(data, tmp_path):
    """Ctrl-C reaches the whole process group; the batch under way must still arrive."""
    import os
    import signal

    batches = iter(loader(Interrupted(data), num_workers=1))
    pid = int(next(batches)[0].ids[0])
    assert pid != os.getpid()
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, signum)
    assert len(list(batches)) == 3


class Interrupted(Samples):
    """The data, with the worker's process number for an id."""

    def __init__(self, data: ViewDataset) -> None:
        self.data = data
        self.edges = data.edges

    def __getitems__(self, items):
        import os

        samples = self.data.__getitems__(items)
        for graphs in samples:
            for graph in graphs:
                graph.id = str(os.getpid())
        return samples


@pytest.mark.parametrize("end", ["pass", "raise KeyError('a bug of the caller')"])
def test_a_program_that_forgets_its_workers_ends_all_the_same(end):
    """They ignore SIGTERM, with which Python ends children before it waits for them."""
    program = f"""
from small_systems import ELEMENTS, iron
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.training.loader import Samples, SeededLoader, ViewDataset
from matgl_ssl.views import View
data = ViewDataset(CrystalDataset.from_crystals([iron()] * 8), GraphBuilder(ELEMENTS, 4.0), [View()], seed=0)
loader = SeededLoader(data, batch_size=2, seed=0, shuffle=True, num_workers=1)
next(iter(loader))
{end}
"""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, timeout=120, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (end == "pass")
    assert end == "pass" or "a bug of the caller" in done.stderr


def test_the_mask_of_a_sample_is_the_same_whatever_the_batch_size(data):
    masked = ViewDataset(data.crystals, data.build_graph, [MaskAtoms(fraction=0.4)], seed=7)
    found = []
    for size in (1, 4):
        masks = {}
        for [batch] in loader(masked, batch_size=size):
            masks |= dict(zip(batch.ids, batch.atom["mask"].split(batch.n_atoms.tolist()), strict=True))
        found.append(masks)
    assert set(found[0]) == set(found[1])
    assert all(torch.equal(found[0][i], found[1][i]) for i in found[0])
