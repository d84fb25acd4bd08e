"""Corpora larger than memory: shuffled within windows, shared by workers and ranks, and resumed in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from small_systems import NAMES, SMALL

from matgl_ssl import prepare, pretrain, read_crystals
from matgl_ssl.crystals import demo_corpus
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.errors import TrainingInterrupted
from matgl_ssl.hub import new_model
from matgl_ssl.training import order
from matgl_ssl.training.loader import SeededLoader, ViewDataset
from matgl_ssl.training.order import BatchOrder, shuffled
from matgl_ssl.training.pretrain import PretrainingModule
from matgl_ssl.views import DisplaceAtoms

N = 50


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Four shards."""
    return prepare(data=demo_corpus(N, seed=2), out=tmp_path_factory.mktemp("prepared") / "corpus", shard_rows=15).out


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(order, "BLOCK", 4)
    monkeypatch.setattr(order, "WINDOW", 12)


def test_every_row_once_and_windows_from_few_places():
    n = 1003
    for epoch in range(3):
        rows = shuffled(n, np.random.default_rng([1, epoch]))
        assert np.sort(rows).tolist() == list(range(n))
        blocks = [np.unique(rows[i : i + 12] // 4) for i in range(0, n, 12)]
        assert max(map(len, blocks)) <= 4  # three, or four around the short one at the table's end
        assert np.abs(np.diff([block[0] for block in blocks])).mean() > 20  # from anywhere in the table
    first, again, other = (shuffled(n, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_what_fits_into_a_window_is_shuffled_as_a_whole():
    """Runs of versions without windows go on as they were."""
    assert shuffled(12, np.random.default_rng(3)).tolist() == np.random.default_rng(3).permutation(12).tolist()


@pytest.fixture
def data(corpus) -> ViewDataset:
    elements = new_model(NAMES[0], {}).element_types
    return ViewDataset(
        read_crystals(corpus, columns=[]), GraphBuilder(elements, 4.0), [DisplaceAtoms(sigma=0.1)], seed=3
    )


def batches(data, *, workers: int = 0, start: tuple[int, int] = (0, 0), ranks: tuple[int, int] = (0, 1)) -> list:
    """Ids and displaced positions of each batch of two epochs from there on."""
    loader = SeededLoader(data, batch_size=6 // ranks[1], seed=3, shuffle=True, num_workers=workers, ranks=ranks)
    loader.load_state_dict({"epoch": start[0], "batch": start[1]})
    found = []
    while loader.state_dict()["epoch"] < 2:
        for (batch,) in loader:
            found.append((batch.ids, batch.frac_coords.tolist()))
        loader.load_state_dict({"epoch": loader.epoch + 1, "batch": 0})
    loader.close()
    return found


def test_the_same_batches_on_any_number_of_workers_and_from_anywhere(data):
    whole = batches(data)
    assert sorted(i for ids, _ in whole[: len(whole) // 2] for i in ids) == sorted(data.crystals.ids)
    assert whole[: len(whole) // 2] != whole[len(whole) // 2 :]
    assert batches(data, workers=2) == whole
    assert batches(data, workers=1, start=(0, 5)) == whole[5:]
    assert batches(data, start=(1, 2)) == whole[len(whole) // 2 + 2 :]


def test_ranks_share_the_batches_that_one_process_has(data):
    parts = [batches(data, ranks=(rank, 2)) for rank in range(2)]
    together = [first + second for (first, _), (second, _) in zip(*parts, strict=True)]
    assert together == [ids for ids, _ in batches(data)]


def test_a_run_resumed_within_a_window_ends_with_the_same_bits(corpus, tmp_path, monkeypatch):
    arguments = {k: v for k, v in SMALL[NAMES[0]].items() if k != "element_types"}
    options = {"model": NAMES[0], "model_args": arguments, "recipe": "masked-atoms", "epochs": 2, "batch_size": 6}
    expected = pretrain(data=corpus, out=tmp_path / "whole", **options)
    score = PretrainingModule.score

    def interrupted(module, batches):
        if module.training and module.global_step == 4:
            monkeypatch.setattr(PretrainingModule, "score", score)
            os.kill(os.getpid(), signal.SIGTERM)
        return score(module, batches)

    monkeypatch.setattr(PretrainingModule, "score", interrupted)
    with pytest.raises(TrainingInterrupted):
        pretrain(data=corpus, out=tmp_path / "run", **options)
    found = pretrain(data=corpus, out=tmp_path / "run", resume=True, num_workers=2)
    for name in ("state.pt",):
        assert (found.encoder / name).read_bytes() == (expected.encoder / name).read_bytes()


def test_memory_a_row(monkeypatch):
    """What is kept of each row is a few bytes: ten million of them must fit beside a model."""
    edges = np.full(100_000, 300, dtype=np.int32)
    monkeypatch.setattr(order, "BLOCK", 4096)
    monkeypatch.setattr(order, "WINDOW", 16_384)
    rows, bounds = BatchOrder(edges, 64, 10**6, 0, True)._cut(0)
    assert rows.nbytes + bounds.nbytes <= 5 * len(edges)
