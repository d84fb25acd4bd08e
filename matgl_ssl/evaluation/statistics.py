"""Paired statistics: differences to a reference arm, cell by cell, with intervals that know what belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Nested = Mapping[Any, Any] | Sequence[float]
"""Numbers, or groups of them by name: tasks hold folds, folds hold seeds."""
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
        """``won`` if it lies below zero (a smaller error), ``lost`` if above, ``tied`` otherwise."""
        return "won" if self.high < 0 else "lost" if self.low > 0 else "tied"


def bootstrap(numbers: Nested, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Interval:
    """The mean of means, resampled at every level: groups of groups, groups, and numbers, each with replacement.

    Percentile intervals of five numbers are narrower than they should be, by about a fifth: five seeds are few.

    Args:
        numbers: Numbers by group.
        seed: Of the resampling.
        n_resamples: How often.
    """
    n = _count(numbers)
    if n < 3:
        return Interval(_mean(numbers), float("nan"), float("nan"), n)
    means = _resampled(numbers, n_resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(_mean(numbers), float(low), float(high), n)


def _children(numbers: Nested) -> list[Nested] | None:
    return list(numbers.values()) if isinstance(numbers, Mapping) else None


def _count(numbers: Nested) -> int:
    children = _children(numbers)
    return len(numbers) if children is None else sum(map(_count, children))


def _mean(numbers: Nested) -> float:
    children = _children(numbers)
    values = list(map(_mean, children)) if children is not None else np.asarray(numbers, dtype=float)
    return float(np.mean(values)) if len(values) else float("nan")


def _resampled(numbers: Nested, size: int, rng: np.random.Generator) -> np.ndarray:
    """Means of ``size`` resamples."""
    children = _children(numbers)
    if children is None:
        values = np.asarray(numbers, dtype=float)
        return np.asarray(values[rng.integers(0, len(values), (size, len(values)))].mean(1))
    drawn = rng.integers(0, len(children), (size, len(children)))
    means = np.empty(drawn.shape)
    for i, child in enumerate(children):
        chosen = drawn == i
        means[chosen] = _resampled(child, int(chosen.sum()), rng)
    return np.asarray(means.mean(1))


def relative_differences(scores: Sequence[Score], arm: str, reference: str = "scratch") -> dict[str, Nested]:
    """Differences to the reference on the same task, fold and seed, in per cent of the reference's mean error.

    Args:
        scores: Of one encoder, one number of labels, one method.
        arm: The arm.
        reference: What it is compared with.

    Returns:
        By task, then by fold; tasks without a pair are left out. Negative: the arm is better.
    """
    errors = {(s.arm, s.task, s.fold, s.seed): s.mae for s in scores}
    pairs = [(s, errors[reference, s.task, s.fold, s.seed]) for s in scores
             if s.arm == arm and (reference, s.task, s.fold, s.seed) in errors]  # fmt: skip
    by_task: dict[str, dict[int, list[float]]] = {}
    for score, other in pairs:
        scale = np.mean([o for s, o in pairs if s.task == score.task])
        by_task.setdefault(score.task, {}).setdefault(score.fold, []).append(float(100 * (score.mae - other) / scale))
    return dict(by_task)


def verdicts(by_task: Mapping[str, Nested]) -> Counter[str]:
    """On how many tasks an arm won, lost and tied against the reference."""
    return Counter(bootstrap(numbers).verdict for numbers in by_task.values())
