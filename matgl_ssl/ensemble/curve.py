"""How the error falls with the number of labels, and what twice and four times as many would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .combine import losses
from .learning import Learned, Learning
from .members import Lesson

_SHARES = (0.25, 0.4, 0.65)
"""Of the labels outside of a fold that are learned from, beside all of them."""
_FEWEST = 12
_RESAMPLINGS = 200
_FARTHER = (2, 4)


@dataclass(frozen=True)
class Expected:
    """An error that was measured, or is to be expected.

    Attributes:
        n_labels: Labels to learn from.
        error: The error.
        low: Lower end of a 90 % interval, by resampling formulas.
        high: Its upper end.
        measured: Whether crystals were predicted after learning from so many labels; else it is extrapolated.
    """

    n_labels: int
    error: float
    low: float
    high: float
    measured: bool


def learning_curve(learning: Learning, learned: Learned, together: float) -> list[Expected]:
    """The error of all learners with fewer and with more labels.

    A quick learner is fitted to parts of the labels of other folds. A power of their number is fitted to its errors,
    which never grow with it. All learners together are taken to err by the same factor less throughout as they do now.

    Args:
        learning: What is learned.
        learned: The quick learner.
        together: Error of all learners out of fold.

    Returns:
        Measured and extrapolated errors by number of labels; nothing for too few labels.
    """
    labelled = learning.labelled
    per_fold = len(labelled) * (1 - 1 / learning.n_folds)
    sizes = [round(share * per_fold) for share in _SHARES]
    sizes = [size for size in sizes if size >= _FEWEST]
    if len(sizes) < 2:
        return []
    errors = np.stack([*(_errors(learning, learned, size) for size in sizes), _full(learning, learned)])
    sizes.append(round(per_fold))
    counts = np.ones(len(labelled)) if labelled.weights is None else labelled.weights
    asked = [*sizes, *(factor * len(labelled) for factor in _FARTHER)]
    scale = together / max(float(np.average(errors[-1], weights=counts)), 1e-300)
    _, groups = np.unique(labelled.groups, return_inverse=True)
    n_groups = int(groups.max()) + 1
    rng = np.random.default_rng([learning.config.seed, 0xC02E])
    drawn = []
    for _ in range(_RESAMPLINGS):
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[groups] * counts
        drawn.append(_curve(sizes, errors @ times / max(times.sum(), 1e-300), asked))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0) * scale
    middle = _curve(sizes, np.average(errors, axis=1, weights=counts), asked) * scale
    return [
        Expected(n, float(m), float(lo), float(hi), n in sizes)
        for n, m, lo, hi in zip(asked, middle, low, high, strict=True)
    ]


def _errors(learning: Learning, learned: Learned, size: int) -> np.ndarray:
    """Error of each crystal after learning from so many labels of other folds, ``(n,)``; kept."""
    member, seed = learned.member, learning.config.seed
    name = f"curve-{size}-{learning.name(member, learned.transform, -1, seed)}"
    if found := learning.units.get(name):
        return np.array(found["errors"])
    labelled = learning.labelled
    said = np.array(learned.out_of_fold)
    for fold in range(learning.n_folds):
        order = np.random.default_rng([seed, fold, 0xC02E]).permutation(np.flatnonzero(learning.folds != fold))
        rows, inside = np.sort(order[:size]), np.flatnonzero(learning.folds == fold)
        transform = learning.transform(learned.transform, fold)
        weights = None if labelled.weights is None else labelled.weights[rows]
        lesson = Lesson(
            learning.inputs.take(rows), transform(labelled.labels[rows]), weights, labelled.groups[rows],
            len(labelled.classes), seed,
        )  # fmt: skip
        values = transform.back(member.fit(lesson).predict(learning.inputs.take(inside)))[:, learned.centre]
        said[inside] = np.where(np.isfinite(values), values, said[inside])
    errors = losses(said, labelled.labels, learning.loss)
    learning.units.keep(name, {"errors": errors.tolist()})
    return errors


def _full(learning: Learning, learned: Learned) -> np.ndarray:
    return losses(learned.out_of_fold, learning.labelled.labels, learning.loss)


def _curve(sizes: Sequence[int], errors: np.ndarray, asked: Sequence[int]) -> np.ndarray:
    """A power law through errors, at other sizes; it does not rise."""
    logs = np.log(np.maximum(errors, 1e-300))
    slope, offset = np.polyfit(np.log(sizes), logs, 1)
    if slope > 0:
        slope, offset = 0.0, float(logs.mean())
    return np.asarray(np.exp(offset + slope * np.log(asked)))
