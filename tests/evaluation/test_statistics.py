"""Intervals and counts whose answers are known, and the coverage of intervals where the truth is."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from matgl_ssl.evaluation.statistics import (
    Interval,
    Score,
    adjusted,
    failed,
    interval,
    log_ratios,
    over_tasks,
    verdicts,
)


def scores(task, arm, errors, fold=0):
    return [Score(task, "MEGNet", arm, 100, seed, fold, mae) for seed, mae in enumerate(errors)]


def test_equal_numbers_have_no_spread():
    assert interval([2.0] * 5) == Interval(2.0, 2.0, 2.0, 0.0, 5)
    assert interval([0.0] * 5).verdict == "tied"


def test_the_interval_of_numbers_is_students():
    numbers = np.random.default_rng(1).normal(0.5, 1.0, 7)
    found, expected = interval(numbers), stats.ttest_1samp(numbers, 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.mean, found.p) == pytest.approx((numbers.mean(), expected.pvalue))


@pytest.mark.parametrize("turn", [np.asarray, np.transpose])
def test_the_level_that_varies_most_decides(turn):
    """Of folds that differ by far and seeds that hardly do, twenty numbers have the interval of five; or of seeds."""
    levels = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    table = levels[:, None] + 0.01 * np.array([-1.0, 0.0, 0.0, 1.0])
    found, five = interval(turn(table)), interval(levels)
    assert found[:4] == pytest.approx(five[:4])
    assert found.n == 20


def test_a_table_may_have_gaps():
    found = interval(np.array([[1.0, 3.0, np.nan], [5.0, np.nan, np.nan], [np.nan] * 3, [6.0, 6.0, np.nan]]))
    assert found.mean == pytest.approx(13 / 3)  # of the rows' means
    assert found.n == 5


def test_too_few_numbers_make_no_interval():
    alone = interval([-1.0, -2.0])
    assert alone.mean == -1.5
    assert math.isnan(alone.low)
    assert alone.verdict == "-"
    assert verdicts([alone]) == {"-": 1}


def test_a_mean_over_tasks_weighs_tasks_alike():
    found = over_tasks({"a": np.ones((1, 10)), "b": np.full((1, 10), 3.0), "c": np.full((3, 10), 5.0)})
    assert found.mean == 3.0
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp([1, 3, 5], 0).confidence_interval(0.95)))
    assert found.n == 50


def test_two_tasks_say_nothing_of_others():
    found = over_tasks({"a": np.full((1, 5), -1.0), "b": np.full((1, 5), -2.0)})
    assert found.mean == -1.5
    assert math.isnan(found.low)


pytestmark = pytest.mark.pyg  # it is the same code in both backends

LEVELS = [levels for levels in product((0, 0.3, 1), (0, 0.3, 1), (0.01, 1)) if sum(levels) >= 1]


@pytest.mark.parametrize(("row", "column", "cell"), LEVELS)
def test_tables_are_covered_whichever_level_varies(row, column, cell):
    """Five folds and five seeds, or five tasks and five seeds: at least 93 of 100 intervals have the truth in them."""
    rng, n, hits = np.random.default_rng(5), 1500, 0
    for _ in range(n):
        noise = row * rng.normal(size=(5, 1)) + column * rng.normal(size=(1, 5)) + cell * rng.normal(size=(5, 5))
        found = interval(0.7 + noise)
        hits += found.low <= 0.7 <= found.high
    assert hits / n >= 0.93


def test_gains_over_tasks_and_seeds_are_covered():
    """Errors of five tasks and five seeds, as scores, through to the per cent of a table."""
    rng, n, hits = np.random.default_rng(3), 1000, 0
    truth = math.log(0.7)
    for _ in range(n):
        table = []
        for task, level in enumerate(np.exp(rng.normal(0, 2, 5))):
            gain, luck = rng.normal(truth, 0.2), rng.normal(0, 0.1, 5)
            base = level * np.exp(luck + rng.normal(0, 0.15, 5))
            table += scores(str(task), "scratch", base)
            table += scores(str(task), "arm", level * np.exp(gain + luck + rng.normal(0, 0.1, 5)))
        found = over_tasks(log_ratios(table, "arm")).percent()
        hits += found.low <= -30 <= found.high
    assert hits / n >= 0.93


def test_of_many_arms_that_do_nothing_hardly_one_is_clear():
    rng = np.random.default_rng(0)
    alone = together = 0
    for _ in range(100):
        found = {str(arm): interval(rng.normal(size=5)) for arm in range(30)}
        alone += any(one.verdict == "won" for one in found.values())
        together += any(one.verdict == "won" for one in adjusted(found).values())
    assert alone > 40  # each by itself: 1 - 0.975^30 of the time
    assert together < 10


def test_families_are_adjusted_apart():
    found = {"headline": Interval(-1, -2, -0.1, 0.04, 5)} | {
        f"other {i}": Interval(-1, -2, 1, p, 5) for i, p in enumerate([0.03, 0.9, 0.9, 0.9, math.nan])
    }
    kept = adjusted(found, lambda name: name == "headline")
    assert kept["headline"].verdict == "won"
    assert kept["other 0"].p == pytest.approx(0.12)
    assert math.isnan(kept["other 4"].p)
    assert adjusted(found)["headline"].verdict == "tied"


def test_ratios_are_paired_by_task_fold_and_seed():
    table = [
        *scores("a", "scratch", [10, 20, 30]), *scores("a", "arm", [5, 10, 15]),
        *scores("b", "scratch", [1, 1], fold=2), *scores("b", "arm", [3], fold=2),
        *scores("c", "arm", [1, 1, 1]), *scores("d", "scratch", [1]),
    ]  # fmt: skip
    by_task = log_ratios(table, "arm")
    assert by_task.keys() == {"a", "b"}
    np.testing.assert_allclose(np.exp(by_task["a"]), [[0.5, 0.5, 0.5]])
    np.testing.assert_allclose(np.exp(by_task["b"]), [[3.0, np.nan, np.nan]])


def test_ratios_of_several_folds_are_a_table_of_folds_and_seeds():
    table = [
        *scores("a", "scratch", [10, 10]), *scores("a", "scratch", [10, 10], fold=3),
        *scores("a", "arm", [9, 8], fold=3), *scores("a", "arm", [7]),
    ]  # fmt: skip
    (found,) = log_ratios(table, "arm").values()
    np.testing.assert_allclose(np.exp(found), [[0.7, np.nan], [0.9, 0.8]])


def test_noise_that_pairs_share_cancels():
    rng = np.random.default_rng(0)
    common = rng.normal(50, 10, 5)
    table = [*scores("a", "scratch", common), *scores("a", "arm", 0.98 * common + 0.01 * rng.normal(size=5))]
    found = interval(log_ratios(table, "arm")["a"])
    assert found.verdict == "won"
    assert found.percent().mean == pytest.approx(-2, abs=0.1)


def test_won_lost_and_tied():
    base = np.array([10.0, 11, 12, 13, 14])
    shifts = {"better": -1, "worse": 2, "same": np.array([1, -1, 1, -1, 0])}
    table = [
        score for task, shift in shifts.items()
        for score in (*scores(task, "scratch", base), *scores(task, "arm", base + shift))
    ]  # fmt: skip
    assert verdicts(map(interval, log_ratios(table, "arm").values())) == {"won": 1, "lost": 1, "tied": 1}


def test_a_run_that_failed_is_found_among_its_seeds():
    table = [*scores("a", "scratch", [0.81, 1.43, 1.52, 0.87, 0.83]), *scores("a", "arm", [5.0] * 5)]
    assert [score.seed for score in failed(table)] == [1, 2]
