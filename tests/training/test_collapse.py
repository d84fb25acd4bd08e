"""The collapse monitor: numbers that vanish when all crystals become one vector, and a warning."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from matgl_ssl.training.collapse import CollapseMonitor, effective_rank, relative_std

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


def judge(vectors: torch.Tensor, n_batches: int = 3) -> dict[str, float]:
    monitor, module = CollapseMonitor(), SimpleNamespace(epoch_metrics={"val_loss": 1.0}, crystal_vectors=None)
    for part in vectors.chunk(n_batches):
        module.crystal_vectors = part
        monitor.on_validation_batch_end(None, module)
    monitor.on_validation_epoch_end(None, module)
    return module.epoch_metrics


def test_the_monitor_judges_all_held_out_crystals_together(caplog):
    with caplog.at_level(logging.WARNING):
        metrics = judge(RANDOM)
    assert metrics["val_loss"] == 1.0
    assert metrics["collapse_std"] == pytest.approx(relative_std(RANDOM))
    assert metrics["collapse_rank"] == pytest.approx(effective_rank(RANDOM))
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


def test_a_single_held_out_crystal_is_not_judged(caplog):
    with caplog.at_level(logging.WARNING):
        assert judge(torch.ones(1, 4), 1) == {"val_loss": 1.0}
    assert not caplog.records
