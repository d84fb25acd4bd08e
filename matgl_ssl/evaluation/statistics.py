"""Paired statistics: differences to a reference arm, cell by cell, with intervals that know what belongs together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Nested = Mapping[Any, Any] | Sequence[float] | np.ndarray
"""Numbers, or groups of them by name. Of a table, ``(folds, seeds)`` for example, both sides are resampled."""
N_RESAMPLES = 4000


class Score(NamedTuple):
    """One row of the CSV; ``n_labels`` is a number or ``"all"``, ``mae`` is in the task's unit."""

    task: str
    encoder: str
    arm: str
    n_labels: int | str
    seed: int
    fold: int
    mae: float
    made_with: str = ""


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
        n: Numbers below it; with fewer than three, the interval is not known (NaN).
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """``won`` if it lies below zero (a smaller error), ``lost`` above, ``tied`` around it, ``-`` if unknown."""
        if math.isnan(self.low):
            return "-"
        return "won" if self.high < 0 else "lost" if self.low > 0 else "tied"


def bootstrap(numbers: Nested, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Interval:
    """The mean of means, resampled at every level: groups, and rows and columns of tables, each with replacement.

    Rows and columns are drawn apart from each other (Owen, Ann. Appl. Stat. 1, 386 (2007)): a seed's weights are the
    same at the start of every fold, and lucky or unlucky on all of them. Percentile intervals of five numbers are
    narrower than they should be, by about a fifth: five seeds are few.

    Args:
        numbers: Numbers by group; NaN in a table where there is none.
        seed: Of the resampling.
        n_resamples: How often.
    """
    n = _count(numbers)
    if n < 3:
        return Interval(_mean(numbers), float("nan"), float("nan"), n)
    means = _resampled(numbers, n_resamples, np.random.default_rng(seed))
    low, high = np.nanquantile(means, [0.025, 0.975])
    return Interval(_mean(numbers), float(low), float(high), n)


def _count(numbers: Nested) -> int:
    if isinstance(numbers, Mapping):
        return sum(map(_count, numbers.values()))
    return int((~np.isnan(_table(numbers))).sum())


def _mean(numbers: Nested) -> float:
    if isinstance(numbers, Mapping):
        return float(np.mean([_mean(child) for child in numbers.values()])) if numbers else float("nan")
    return float(_mean_of_rows(_table(numbers)))


def _table(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.asarray(numbers, dtype=float))


def _mean_of_rows(tables: np.ndarray) -> np.ndarray:
    """``(..., rows, columns)`` to ``(...)``: of the numbers that are there, those of each row, then those of rows."""
    for _ in range(2):
        known = ~np.isnan(tables)
        with np.errstate(invalid="ignore"):
            tables = np.where(known, tables, 0.0).sum(-1) / known.sum(-1)
    return tables


def _resampled(numbers: Nested, size: int, rng: np.random.Generator) -> np.ndarray:
    """Means of ``size`` resamples."""
    if not isinstance(numbers, Mapping):
        table = _table(numbers)
        rows, columns = (rng.integers(0, n, (size, n)) for n in table.shape)
        return _mean_of_rows(table[rows[:, :, None], columns[:, None, :]])
    children = list(numbers.values())
    drawn = rng.integers(0, len(children), (size, len(children)))
    means = np.empty(drawn.shape)
    for i, child in enumerate(children):
        chosen = drawn == i
        means[chosen] = _resampled(child, int(chosen.sum()), rng)
    return np.asarray(means.mean(1))


def by_fold_and_seed(found: Iterable[tuple[Score, float]]) -> np.ndarray:
    """A task's numbers, each of a score, as a table: a row a fold, a column a seed, NaN where there is none."""
    numbers = {(score.fold, score.seed): number for score, number in found}
    folds, seeds = (sorted(set(names)) for names in zip(*numbers, strict=True))
    return np.array([[numbers.get((fold, seed), np.nan) for seed in seeds] for fold in folds])


def relative_differences(scores: Sequence[Score], arm: str, reference: str = "scratch") -> dict[str, np.ndarray]:
    """Differences to the reference on the same task, fold and seed, in per cent of the reference's mean error.

    Args:
        scores: Of one encoder, one number of labels, one method.
        arm: The arm.
        reference: What it is compared with.

    Returns:
        A table by fold and seed for each task; tasks without a pair are left out. Negative: the arm is better.
    """
    errors = {(s.arm, s.task, s.fold, s.seed): s.mae for s in scores}
    pairs = [(s, errors[reference, s.task, s.fold, s.seed]) for s in scores
             if s.arm == arm and (reference, s.task, s.fold, s.seed) in errors]  # fmt: skip
    by_task = {}
    for task in dict.fromkeys(score.task for score, _ in pairs):
        of_task = [(score, other) for score, other in pairs if score.task == task]
        scale = float(np.mean([other for _, other in of_task]))
        by_task[task] = by_fold_and_seed((score, 100 * (score.mae - other) / scale) for score, other in of_task)
    return by_task


def verdicts(by_task: Mapping[str, Nested]) -> Counter[str]:
    """On how many tasks an arm won, lost and tied against the reference."""
    return Counter(bootstrap(numbers).verdict for numbers in by_task.values())
