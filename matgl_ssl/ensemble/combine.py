"""How much each learner counts: weights that make the error small on labels that it did not see."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array, eye_array, hstack, vstack

Loss = Literal["mae", "mse", "log"]

_RESAMPLINGS = 30
_LEAST = 1e-4
"""A probability below this counts as this."""


def losses(predictions: np.ndarray, labels: np.ndarray, loss: Loss) -> np.ndarray:
    """The error of each crystal.

    Args:
        predictions: Shape ``(..., n, 1)``, or ``(..., n, classes)``.
        labels: Numbers, or the numbers of classes, ``(n,)``.
        loss: Absolute, squared, or the negative logarithm of the true class's probability.

    Returns:
        Shape ``(..., n)``.
    """
    if loss == "log":
        true = predictions[..., np.arange(len(labels)), labels.astype(int)]
        return -np.log(np.clip(true, _LEAST, 1))
    errors = predictions[..., 0] - labels
    return np.abs(errors) if loss == "mae" else errors**2


def combination_weights(
    predictions: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    loss: Loss,
    *,
    trivial: int = 0,
    counts: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Weights that are not negative and sum to one, averaged over resamplings of the groups.

    On each resampling the weights of least error are exact: a linear program for absolute errors, a convex problem for
    the others. Their average does not believe what one resampling makes of a single learner. Out of fold, a learner
    that errs more than the trivial one counts nothing.

    Args:
        predictions: Out-of-fold predictions of the learners, ``(m, n, 1)`` or ``(m, n, classes)``.
        labels: The labels, ``(n,)``.
        groups: The group of each crystal, ``(n,)``.
        loss: What is made small.
        trivial: The learner that knows nothing of crystals.
        counts: How much each label counts, ``(n,)``.
        seed: Seed of the resamplings.

    Returns:
        Shape ``(m,)``.
    """
    counts = np.ones(len(labels)) if counts is None else counts
    errors = np.average(losses(predictions, labels, loss), axis=1, weights=counts)
    kept = np.flatnonzero(errors <= errors[trivial])
    found = np.zeros(len(predictions))
    if len(kept) == 1:
        found[kept] = 1.0
        return found
    _, members = np.unique(groups, return_inverse=True)
    n_groups = int(members.max()) + 1
    rng = np.random.default_rng([seed, 0xC0B1])
    for _ in range(_RESAMPLINGS):
        drawn = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[members] * counts
        rows = np.flatnonzero(drawn > 0)
        if len(rows):
            found[kept] += _exact(predictions[kept][:, rows], labels[rows], drawn[rows], loss)
    return found / found.sum()


def combined(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of learners; where one has nothing to say, that of the others.

    Args:
        predictions: Shape ``(m, n, k)``; NaN where a learner has nothing to say.
        weights: Shape ``(m,)``, or ``(m, n)`` if each crystal has its own.

    Returns:
        Shape ``(n, k)``; NaN where no learner that counts has anything to say.
    """
    each = np.broadcast_to(weights if weights.ndim == 2 else weights[:, None], predictions.shape[:2])
    each = np.where(np.isfinite(predictions).all(2), each, 0.0)
    total = each.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("mn,mnk->nk", each, np.nan_to_num(predictions)) / total[:, None]


def spread(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How far learners are apart, as a weighted standard deviation, ``(n,)``; arguments as for ``combined``."""
    mean = combined(predictions, weights)
    return np.sqrt(np.maximum(combined((predictions - mean) ** 2, weights), 0).sum(1))


def _exact(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray, loss: Loss) -> np.ndarray:
    """The weights of least error on some crystals."""
    if loss == "mae":
        return _least_absolute(predictions[..., 0], labels, counts)
    m = len(predictions)

    def value(weights: np.ndarray) -> float:
        mixed = np.einsum("m,mnk->nk", weights, predictions)
        return float(np.average(losses(mixed, labels, loss), weights=counts)) / scale

    scale = max(float(np.average(losses(predictions.mean(0), labels, loss), weights=counts)), 1e-300)
    found = minimize(
        value, np.full(m, 1 / m), method="SLSQP", bounds=[(0, 1)] * m,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )  # fmt: skip
    weights = np.clip(found.x, 0, None)
    return weights / weights.sum()


def _least_absolute(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A linear program: the label is the mixture plus an excess or minus a deficit, whose sum is to be small."""
    m, n = predictions.shape
    identity = eye_array(n, format="csr")
    fit = hstack([csr_array(predictions.T), identity, -identity])
    total = hstack([csr_array(np.ones((1, m))), csr_array((1, 2 * n))])
    cost = np.concatenate([np.zeros(m), counts, counts])
    found = linprog(cost, A_eq=vstack([fit, total]), b_eq=np.append(labels, 1.0), method="highs")
    if found.x is None:  # numbers too far apart for the solver
        return np.full(m, 1 / m)
    weights = np.clip(found.x[:m], 0, None)
    return weights / weights.sum()
