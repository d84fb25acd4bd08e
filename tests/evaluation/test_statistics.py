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


def test_a_seed_that_is_unlucky_on_every_fold_is_one_seed():
    """Seeds that differ by far, folds that hardly do: a table's twenty-five numbers have the spread of five."""
    levels = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    table = levels + 0.01 * np.arange(-2, 3)[:, None]
    wide, one = bootstrap(table), bootstrap(levels)
    assert wide.mean == pytest.approx(0, abs=1e-12)
    assert wide.n == 25
    assert wide.high - wide.low == pytest.approx(one.high - one.low, rel=0.1)


def test_a_table_may_have_gaps():
    table = np.array([[1.0, 3.0, np.nan], [5.0, np.nan, np.nan]])
    interval = bootstrap(table)
    assert interval.mean == 3.5  # of the rows' means
    assert interval.n == 3
    assert 1 <= interval.low < 3.5 < interval.high <= 5


def test_a_mean_over_tasks_weighs_tasks_alike():
    assert bootstrap({"a": np.ones((1, 10)), "b": [3.0]}).mean == 2.0


def test_too_few_numbers_make_no_interval():
    interval = bootstrap({"a": {0: [-1.0, -2.0]}})
    assert interval.mean == -1.5
    assert math.isnan(interval.low)
    assert interval.verdict == "-"


def test_differences_are_paired_by_task_fold_and_seed():
    table = [
        *scores("a", "scratch", [10, 20, 30]), *scores("a", "arm", [9, 18, 27]),
        *scores("b", "scratch", [1, 1], fold=2), *scores("b", "arm", [3], fold=2),
        *scores("c", "arm", [1, 1, 1]), *scores("d", "scratch", [1]),
    ]  # fmt: skip
    by_task = relative_differences(table, "arm")
    assert {task: found.tolist() for task, found in by_task.items()} == {"a": [[-5.0, -10.0, -15.0]], "b": [[200.0]]}


def test_differences_of_several_folds_are_a_table_of_folds_and_seeds():
    table = [
        *scores("a", "scratch", [10, 10]), *scores("a", "scratch", [10, 10], fold=3),
        *scores("a", "arm", [9, 8], fold=3), *scores("a", "arm", [7]),
    ]  # fmt: skip
    (found,) = relative_differences(table, "arm").values()
    np.testing.assert_allclose(found, [[-30.0, np.nan], [-10.0, -20.0]])


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


def test_where_nothing_is_known_nothing_is_tied():
    alone = bootstrap([-50.0])
    assert alone.verdict == "-"
    assert verdicts({"task": np.array([[-50.0]])}) == {"-": 1}
