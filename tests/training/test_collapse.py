"""The collapse monitor: numbers that vanish when all crystals become one vector, and a warning."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from small_systems import iron, make_batch, skewed, small_encoder

from matgl_ssl.backends import EDGE_VECTOR
from matgl_ssl.errors import NonFiniteError
from matgl_ssl.training.collapse import (
    CollapseMonitor,
    compressed,
    effective_rank,
    relative_change,
    relative_std,
)

RANDOM = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))


def test_effective_rank_is_the_dimension_of_isotropic_vectors():
    assert effective_rank(RANDOM) == pytest.approx(8, rel=0.01)
    corners = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(corners) == pytest.approx(5, abs=1e-6)


def test_effective_rank_does_not_depend_on_scale_or_origin():
    assert effective_rank(1e-6 * RANDOM) == pytest.approx(effective_rank(RANDOM))
    assert effective_rank(RANDOM + 3.0) == pytest.approx(effective_rank(RANDOM), rel=1e-5)


def test_vectors_on_a_line_have_rank_one():
    line = torch.linspace(-1, 1, 20)[:, None] * torch.tensor([[1.0, 2.0, -3.0]]) + 5.0
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-5)


def test_equal_vectors_have_rank_zero_and_no_spread():
    constant = torch.full((20, 4), 3.0)
    assert effective_rank(constant) == 0
    assert relative_std(constant) == 0
    assert relative_std(torch.zeros(20, 4)) == 0


def test_the_spread_is_relative_to_the_size_of_the_vectors():
    assert relative_std(RANDOM) == pytest.approx(1.0, rel=0.02)
    assert relative_std(7 * RANDOM) == pytest.approx(relative_std(RANDOM))
    assert relative_std(RANDOM + 100) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_compressed_crystals_are_shorter_everywhere_and_the_encoder_sees_it(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [skewed(), iron()])
    smaller = compressed(batch)
    torch.testing.assert_close(smaller.edge_vectors(), 0.95 * batch.edge_vectors())
    assert (encoder(smaller).node[-1] - encoder(batch).node[-1]).abs().max() > 1e-3
    batch.edge[EDGE_VECTOR] = torch.ones(batch.edge_index.shape[1], 3)
    torch.testing.assert_close(compressed(batch).edge_vectors(), 0.95 * batch.edge[EDGE_VECTOR])
    assert float(batch.edge[EDGE_VECTOR].min()) == 1


def test_the_change_is_relative_to_the_spread():
    shifted = RANDOM + 0.1 * torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    assert relative_change(RANDOM, shifted) == pytest.approx(0.1, rel=0.05)
    assert relative_change(50 * RANDOM + 3, 50 * shifted + 3) == pytest.approx(relative_change(RANDOM, shifted))
    assert relative_change(RANDOM, RANDOM) == 0
    assert relative_change(torch.ones(5, 2), torch.zeros(5, 2)) == 0


def judge(vectors: torch.Tensor, n_batches: int = 3, change: float = 0.1, before: float = 0.1) -> dict[str, float]:
    """One atom a crystal; compressing adds ``change`` to its vector, and ``before`` before training."""
    build = small_encoder("MEGNet")
    parts = vectors.chunk(n_batches)
    batches = [[make_batch(build, [iron()] * len(part))] for part in parts]
    module = SimpleNamespace(epoch_metrics={"val_loss": 1.0}, crystal_vectors=None, device="cpu", training=True)
    module.eval = module.train = lambda mode=True: None
    monitor = CollapseMonitor()
    started = iter([x for part in parts for x in (part, part + before)])
    module.encoder = lambda crystals: SimpleNamespace(node=[next(started)])
    monitor.on_train_start(SimpleNamespace(val_dataloaders=batches), module)
    assert monitor.structure_before == pytest.approx(relative_change(vectors, vectors + before), nan_ok=True)
    resumed = CollapseMonitor()
    resumed.load_state_dict(monitor.state_dict())
    resumed.on_train_start(None, None)
    module.encoder = lambda crystals: SimpleNamespace(node=[module.crystal_vectors + change])
    for part, batch in zip(parts, batches, strict=True):
        module.crystal_vectors = part
        resumed.on_validation_batch_end(None, module, None, batch, 0)
    resumed.on_validation_epoch_end(None, module)
    return module.epoch_metrics


def test_the_monitor_judges_all_held_out_crystals_together(caplog):
    with caplog.at_level(logging.WARNING):
        metrics = judge(RANDOM[:20])
    assert metrics["val_loss"] == 1.0
    assert metrics["collapse_std"] == pytest.approx(relative_std(RANDOM[:20]))
    assert metrics["collapse_rank"] == pytest.approx(effective_rank(RANDOM[:20]))
    assert metrics["collapse_structure"] == pytest.approx(relative_change(RANDOM[:20], RANDOM[:20] + 0.1))
    assert not caplog.records


@pytest.mark.parametrize(
    "vectors",
    [torch.full((12, 4), 3.0), 3.0 + 1e-4 * RANDOM[:12], torch.linspace(-1, 1, 12)[:, None] * torch.ones(1, 4)],
    ids=["constant", "nearly constant", "on a line"],
)
def test_a_collapsed_encoder_is_warned_of(caplog, vectors):
    with caplog.at_level(logging.WARNING):
        judge(vectors)
    [record] = caplog.records
    assert "Representation collapse: over 12 held-out crystals" in record.getMessage()


def test_the_rank_of_few_crystals_is_not_judged_and_their_spread_is(caplog):
    """Two crystals' vectors are always on a line."""
    with caplog.at_level(logging.WARNING):
        judge(RANDOM[:3])
        assert not caplog.records
        judge(torch.full((3, 4), 3.0))
    assert "Representation collapse: over 3 held-out crystals" in caplog.text


def test_vectors_that_are_no_numbers_end_the_run():
    with pytest.raises(NonFiniteError, match="Lower --lr"):
        judge(torch.where(torch.arange(20)[:, None] == 7, torch.nan, RANDOM[:20]))


def test_a_single_held_out_crystal_is_not_judged(caplog):
    with caplog.at_level(logging.WARNING):
        assert judge(torch.ones(1, 4), 1) == {"val_loss": 1.0}
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "before", "warned"),
    [
        (1e-5, 1e-5, True), (1.9e-5, 1e-5, True), (3e-5, 1e-5, False), (0.01, 0.05, True), (0.01, 0.004, False),
        (0.04, 0.1, False),
    ],
)  # fmt: skip
def test_an_encoder_that_sees_no_more_of_the_structure_than_before_is_warned_of(caplog, change, before, warned):
    vectors = 20**0.5 * torch.nn.functional.normalize(RANDOM[:20] - RANDOM[:20].mean(0), dim=0)
    with caplog.at_level(logging.WARNING):
        metrics = judge(vectors, change=change, before=before)
    assert metrics["collapse_structure"] == pytest.approx(change, rel=0.05)
    assert bool(caplog.records) is warned
    assert all("Structural collapse: compressing the 20" in record.getMessage() for record in caplog.records)
