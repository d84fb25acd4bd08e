"""Paired statistics: ratios of errors, cell by cell, with intervals that know what belongs together.

Errors are compared by the logarithms of their ratios: twice and half as large an error are then equally far from none,
and one run that fails is one number among others. What is told of them, in per cent, is of their geometric mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
K = TypeVar("K", bound=Hashable)


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
        mean: The mean.
        low: Lower end.
        high: Upper end.
        p: Of the two-sided test that the mean is zero.
        n: Numbers below it. With fewer than three, ends and ``p`` are not known (NaN).
    """

    mean: float
    low: float
    high: float
    p: float
    n: int

    @property
    def verdict(self) -> str:
        """``won`` if it lies below zero (a smaller error), ``lost`` above, ``tied`` around it, ``-`` if unknown."""
        if math.isnan(self.p):
            return "-"
        return "tied" if self.p >= 1 - CONFIDENCE else "won" if self.mean < 0 else "lost"

    def percent(self) -> Interval:
        """An interval of logarithms as the difference in per cent."""
        mean, low, high = (100 * math.expm1(end) for end in self[:3])
        return Interval(mean, low, high, self.p, self.n)


def interval(numbers: np.ndarray | Sequence[float]) -> Interval:
    """The mean of numbers, or of the row means of a table, with Student's interval at the level that dominates.

    Rows and columns of a table, say folds and seeds, are crossed: a seed's first weights are those of every fold, lucky
    or not on all of them. So the numbers of a table are not as many as they seem. The interval is that of the means of
    rows or of columns, whichever has the larger standard error. It covers the truth of simulated tables of five rows
    and columns at least 93 times of 100, whichever level varies (``tests/evaluation/test_statistics.py``).

    Args:
        numbers: Shape ``(n,)`` or ``(rows, columns)``; NaN where there is none.
    """
    table = np.atleast_2d(np.asarray(numbers, dtype=float))
    levels = [means[~np.isnan(means)] for means in (_means(table, axis) for axis in (1, 0))]
    n, mean = int((~np.isnan(table)).sum()), float(np.mean(levels[0])) if len(levels[0]) else math.nan
    if max(map(len, levels)) < 3:
        return Interval(mean, math.nan, math.nan, math.nan, n)
    means = max((level for level in levels if len(level) > 1), key=stats.sem)
    error = float(stats.sem(means))
    if error <= 1e-12 * abs(mean):  # equal but for rounding
        return Interval(mean, mean, mean, 0.0 if mean else 1.0, n)
    freedom = len(means) - 1
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return Interval(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, freedom)), n)


def over_tasks(by_task: Mapping[str, np.ndarray]) -> Interval:
    """The mean over tasks, each of which weighs alike; its interval says what other tasks like these would give.

    Args:
        by_task: A table by fold and seed of each task.

    Returns:
        Of tasks and seeds that level which dominates. Two tasks say nothing of others: without an interval.
    """
    n = sum(int((~np.isnan(table)).sum()) for table in by_task.values())
    if len(by_task) < 3:
        means = [interval(table).mean for table in by_task.values()]
        return Interval(float(np.mean(means)) if means else math.nan, math.nan, math.nan, math.nan, n)
    return interval(np.stack([_means(table, 0) for table in by_task.values()]))._replace(n=n)


def _means(table: np.ndarray, axis: int) -> np.ndarray:
    """Of what is there; NaN where nothing is."""
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0.0).sum(axis) / known.sum(axis))


def adjusted(intervals: Mapping[K, Interval], family: Callable[[K], object] = lambda _: None) -> dict[K, Interval]:
    """The same, with p-values that hold for a family of them: of those called clear 5 % are false, on average.

    Benjamini, Hochberg, J. R. Stat. Soc. B 57, 289 (1995), by ``scipy.stats.false_discovery_control``.

    Args:
        intervals: The intervals by name.
        family: What tells a name's family. What a study is about is one, all else that it compares another.
    """
    changed = dict(intervals)
    for one in {family(name) for name in intervals}:
        names = [name for name, found in intervals.items() if family(name) == one and not math.isnan(found.p)]
        if names:
            p = stats.false_discovery_control([intervals[name].p for name in names])
            changed |= {name: intervals[name]._replace(p=float(q)) for name, q in zip(names, p, strict=True)}
    return changed


def by_fold_and_seed(found: Iterable[tuple[Score, float]], seeds: Sequence[int] = ()) -> np.ndarray:
    """A task's numbers, each of a score, as a table: a row a fold, a column a seed, NaN where there is none."""
    numbers = {(score.fold, score.seed): number for score, number in found}
    folds = sorted({fold for fold, _ in numbers})
    columns = seeds or sorted({seed for _, seed in numbers})
    return np.array([[numbers.get((fold, seed), np.nan) for seed in columns] for fold in folds])


def log_ratios(scores: Sequence[Score], arm: str, reference: str = "scratch") -> dict[str, np.ndarray]:
    """Logarithms of an arm's errors over the reference's on the same task, fold and seed.

    Args:
        scores: Of one encoder, one number of labels, one method.
        arm: The arm.
        reference: What it is compared with.

    Returns:
        A table by fold and seed for each task; tasks without a pair are left out. Negative: the arm is better. The
        tables of all tasks have the same seeds, NaN where a task lacks one.
    """
    errors = {(s.arm, s.task, s.fold, s.seed): s.mae for s in scores}
    pairs = [(s, errors[reference, s.task, s.fold, s.seed]) for s in scores
             if s.arm == arm and (reference, s.task, s.fold, s.seed) in errors]  # fmt: skip
    seeds = sorted({score.seed for score, _ in pairs})
    tiny = np.finfo(float).tiny
    return {
        task: by_fold_and_seed(
            ((s, math.log(max(s.mae, tiny) / max(other, tiny))) for s, other in pairs if s.task == task), seeds
        )
        for task in dict.fromkeys(score.task for score, _ in pairs)
    }


def failed(scores: Sequence[Score]) -> list[Score]:
    """Those whose error is more than 1.5 times the median of their arm's seeds on the same task and fold."""
    groups: dict[tuple[object, ...], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.encoder, score.arm, score.n_labels, score.fold), []).append(score)
    return [s for group in groups.values() for s in group if s.mae > 1.5 * float(np.median([o.mae for o in group]))]


def verdicts(intervals: Iterable[Interval]) -> Counter[str]:
    """How many were won, lost and tied."""
    return Counter(found.verdict for found in intervals)
