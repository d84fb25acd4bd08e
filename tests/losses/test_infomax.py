"""Deep InfoMax's loss against binary cross entropy, its levels and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_ssl.losses.infomax import Scores, critic_accuracy, grouped_mean, jensen_shannon, released_kl

GROUPS = 5  # the last has no pair at all


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)

    def some(n: int, groups: int) -> Scores:
        columns = rng.normal(0, 3, n), rng.integers(0, groups, n), rng.uniform(0.1, 2, n)
        return Scores(*map(torch.from_numpy, columns))

    return some(40, 4), [some(30, 4), some(20, 3)]


def test_it_is_the_weighted_binary_cross_entropy(scores):
    positive, negatives = scores
    loss, counts = jensen_shannon(positive, negatives, GROUPS)
    for group in range(GROUPS - 1):
        parts = []
        for label, kind in [(1, positive), *((0, n) for n in negatives)]:
            own = (kind.group == group).numpy()
            if own.any():
                p = 1 / (1 + np.exp(-kind.values.numpy()[own]))
                parts.append(np.average(-np.log(p if label else 1 - p), weights=kind.weights.numpy()[own]))
        assert float(loss[group]) == pytest.approx(parts[0] + np.mean(parts[1:]), rel=1e-9)
    assert counts.tolist() == [True] * 4 + [False]
    assert float(loss[4]) == 0


@pytest.mark.parametrize("kinds", [1, 2])
def test_zero_scores_cost_2_ln_2_whatever_the_number_of_negatives(scores, kinds):
    positive, negatives = scores
    for kind in (positive, *negatives):
        kind.values.zero_()
    loss, counts = jensen_shannon(positive, negatives[:kinds], GROUPS)
    np.testing.assert_allclose(loss[counts].numpy(), 2 * np.log(2), rtol=1e-12)


def test_the_best_critic_of_equal_pairs_gains_nothing_and_of_different_ones_everything():
    same = Scores(torch.full((3,), 20.0), torch.zeros(3, dtype=torch.long), torch.ones(3))
    other = Scores(torch.full((3,), -20.0), torch.zeros(3, dtype=torch.long), torch.ones(3))
    assert float(jensen_shannon(same, [other], 1)[0]) < 1e-7
    for score in np.linspace(-5, 5, 11):
        pairs = Scores(torch.full((3,), score), torch.zeros(3, dtype=torch.long), torch.ones(3))
        assert float(jensen_shannon(pairs, [pairs], 1)[0]) >= 2 * np.log(2) - 1e-6


def test_groups_without_negatives_do_not_count_and_give_finite_gradients(scores):
    positive, negatives = scores
    positive.values.requires_grad_()
    for negative in negatives:
        negative.weights.zero_()
    loss, counts = jensen_shannon(positive, negatives, GROUPS)
    assert not counts.any()
    (loss * counts).sum().backward()
    assert float(positive.values.grad.abs().max()) == 0
    assert float(critic_accuracy(positive, negatives)) <= 0.5


def test_grouped_means():
    means, there = grouped_mean(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), torch.tensor([1.0, 3, 2]), 3)
    assert means.tolist() == [2.5, 0.0, 5.0]
    assert there.tolist() == [True, False, True]


def test_accuracy_weighs_positives_and_negatives_alike():
    group = torch.zeros(4, dtype=torch.long)
    right = Scores(torch.tensor([1.0, 2, -1, 3]), group, torch.ones(4))
    wrong = Scores(torch.tensor([1.0, 1, -1, -3]), group, torch.tensor([1.0, 1, 1, 5]))
    assert float(critic_accuracy(right, [wrong])) == pytest.approx((0.75 + 0.75) / 2)


def test_the_released_prior_is_least_at_the_standard_normal_and_one_there():
    grid = torch.linspace(-3, 3, 61, dtype=torch.float64)
    values = released_kl(grid[:, None], grid[None])
    assert float(values.min()) == pytest.approx(1)
    assert divmod(int(values.argmin()), 61) == (30, 30)
    mean, log_variance = torch.tensor(0.7), torch.tensor(-1.1)
    textbook = 0.5 * (0.7**2 + np.exp(-1.1) + 1.1 - 1)
    extra = 0.5 * (np.exp(-1.1) + 1.1 + 1)
    assert float(released_kl(mean, log_variance)) == pytest.approx(textbook + extra, rel=1e-6)
