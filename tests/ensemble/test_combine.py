"""Weights of learners, where it is known which of them can be believed."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_ssl.ensemble.combine import combination_weights, combined, losses, spread


def said(*values: np.ndarray) -> np.ndarray:
    return np.stack(values)[:, :, None]


@pytest.fixture
def labels():
    return np.random.default_rng(0).normal(size=120)


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_one_that_is_right_gets_all(labels, loss):
    noise = np.random.default_rng(1).normal(size=(2, 120))
    predictions = said(np.zeros(120), labels + noise[0], labels, labels - noise[1])
    weights = combination_weights(predictions, labels, np.arange(120), loss)
    np.testing.assert_allclose(weights, [0, 0, 1, 0], atol=1e-3)


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_equally_good_ones_share_the_weight_and_err_less_together(labels, loss):
    predictions = said(np.zeros(120), *(labels + np.random.default_rng(2).normal(0, 0.5, size=(3, 120))))
    weights = combination_weights(predictions, labels, np.arange(120), loss)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] < 0.1
    assert weights[1:].min() > 0.15
    together = losses(combined(predictions, weights), labels, loss).mean()
    assert together < losses(predictions, labels, loss).mean(1).min() * 0.8


def test_one_that_overfits_gets_nothing(labels):
    """Without a look at unseen labels it is perfect; out of fold it is worse than the median."""
    rng = np.random.default_rng(3)
    overfitted = labels[rng.permutation(120)]
    predictions = said(np.full(120, np.median(labels)), overfitted, labels + rng.normal(0, 0.5, 120))
    assert losses(predictions[1], labels, "mae").mean() > losses(predictions[0], labels, "mae").mean()
    assert combination_weights(predictions, labels, np.arange(120), "mae")[1] == 0


def test_where_nothing_is_learned_the_median_counts():
    rng = np.random.default_rng(4)
    labels = rng.normal(size=120)
    predictions = said(np.zeros(120), *rng.normal(0, 2, size=(3, 120)))
    np.testing.assert_array_equal(combination_weights(predictions, labels, np.arange(120), "mae"), [1, 0, 0, 0])


def test_copies_of_one_crystal_are_resampled_together():
    """One crystal in a hundred copies, which one learner happens to hit, is one crystal: many resamplings lack it."""
    labels = np.concatenate([np.random.default_rng(5).normal(size=30), np.full(100, 7.0)])
    copies = np.arange(130) >= 30
    predictions = said(labels + 5, labels + copies, labels + ~copies)
    alone = combination_weights(predictions, labels, np.arange(130), "mae")
    together = combination_weights(predictions, labels, np.minimum(np.arange(130), 30), "mae")
    assert alone[2] > 0.99
    assert 0.4 < together[2] < 0.85


def test_labels_count_as_much_as_they_are_said_to():
    labels = np.concatenate([np.zeros(50), np.ones(50)])
    predictions = said(np.full(100, 0.5), np.full(100, 0.1), np.full(100, 0.9))
    counts = np.concatenate([np.full(50, 10.0), np.ones(50)])
    weights = combination_weights(predictions, labels, np.arange(100), "mae", counts=counts)
    assert weights[1] == pytest.approx(1)


def test_probabilities_are_mixed_by_their_log_loss():
    rng = np.random.default_rng(6)
    labels = rng.integers(3, size=150)
    sure = np.full((150, 3), 0.1) + 0.7 * np.eye(3)[labels]
    predictions = np.stack([np.full((150, 3), 1 / 3), rng.dirichlet(np.ones(3), 150), sure])
    weights = combination_weights(predictions, labels, np.arange(150), "log")
    assert weights[2] > 0.95
    np.testing.assert_allclose(combined(predictions, weights).sum(1), 1)


def test_the_linear_program_finds_the_least_absolute_error(labels):
    rng = np.random.default_rng(7)
    predictions = said(np.zeros(120), labels + rng.normal(0, 0.4, 120), labels * 0.7 + rng.normal(0, 0.2, 120))
    from matgl_ssl.ensemble.combine import _least_absolute

    weights = _least_absolute(predictions[..., 0], labels, np.ones(120))
    least = losses(combined(predictions, weights), labels, "mae").mean()
    tried = (losses(combined(predictions, w), labels, "mae").mean() for w in rng.dirichlet(np.ones(3), 3000))
    assert least <= min(tried) + 1e-9


def test_learners_without_a_word_are_left_out_crystal_by_crystal():
    predictions = said(np.array([1.0, 1.0]), np.array([3.0, np.nan]))
    np.testing.assert_allclose(combined(predictions, np.array([0.5, 0.5]))[:, 0], [2.0, 1.0])
    np.testing.assert_allclose(spread(predictions, np.array([0.5, 0.5])), [1.0, 0.0])
    assert np.isnan(combined(predictions[1:], np.array([1.0]))[1, 0])
