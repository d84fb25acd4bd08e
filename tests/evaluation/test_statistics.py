"""Intervals and counts whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matgl_ssl.evaluation.statistics import Interval, Score, bootstrap, relative_differences, verdicts


def scores(task, arm, errors, fold=0):
    return [Score(task, "MEGNet", arm, 100, seed, fold, mae) for seed, mae in enumerate(errors)]


def test_equal_numbers_have_no_spread():
    assert bootstrap([2.0] * 5) == Interval(2.0, 2.0, 2.0, 5)


def test_the_interval_of_many_numbers_is_that_of_their_mean():
    numbers = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = bootstrap(numbers)
    expected = 1.96 * numbers.std() / 20
    assert interval.mean == pytest.approx(numbers.mean())
    assert interval.high - interval.mean == pytest.approx(expected, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(expected, rel=0.1)


def test_seeds_on_one_fold_are_not_many_folds():
    """Folds that differ by far, seeds that hardly do: twenty numbers have the spread of five."""
    levels = [-4.0, -2.0, 0.0, 2.0, 4.0]
    nested = {fold: [level, level + 0.01, level, level - 0.01] for fold, level in enumerate(levels)}
    flat = [value for values in nested.values() for value in values]
    wide, narrow = bootstrap(nested), bootstrap(flat)
    assert wide.mean == pytest.approx(narrow.mean, abs=1e-12)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2, rel=0.1)


def test_a_mean_over_tasks_weighs_tasks_alike():
    assert bootstrap({"a": {0: [1.0] * 10}, "b": {0: [3.0]}}).mean == 2.0


def test_too_few_numbers_make_no_interval():
    interval = bootstrap({"a": {0: [-1.0, -2.0]}})
    assert interval.mean == -1.5
    assert math.isnan(interval.low)
    assert interval.verdict == "tied"


def test_differences_are_paired_by_task_fold_and_seed():
    table = [
        *scores("a", "scratch", [10, 20, 30]), *scores("a", "arm", [9, 18, 27]),
        *scores("b", "scratch", [1, 1], fold=2), *scores("b", "arm", [3], fold=2),
        *scores("c", "arm", [1, 1, 1]), *scores("d", "scratch", [1]),
    ]  # fmt: skip
    by_task = relative_differences(table, "arm")
    assert by_task == {"a": {0: [-5.0, -10.0, -15.0]}, "b": {2: [200.0]}}


def test_noise_that_pairs_share_cancels():
    rng = np.random.default_rng(0)
    common = rng.normal(50, 10, 5)
    table = [*scores("a", "scratch", common), *scores("a", "arm", common - 1 + 0.1 * rng.normal(size=5))]
    interval = bootstrap(relative_differences(table, "arm"))
    assert interval.verdict == "won"
    assert interval.mean == pytest.approx(-2, abs=0.3)


def test_won_lost_and_tied():
    base = [10.0, 11, 12, 13, 14]
    table = []
    for task, shift in (("better", [-1] * 5), ("worse", [2] * 5), ("same", [1, -1, 1, -1, 0])):
        table += scores(task, "scratch", base)
        table += scores(task, "arm", [b + s for b, s in zip(base, shift, strict=True)])
    assert verdicts(relative_differences(table, "arm")) == {"won": 1, "lost": 1, "tied": 1}
