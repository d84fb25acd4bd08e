"""Kernel ridge regression on numbers of a crystal, its hyperparameters chosen by cross-validation.

The grid is Kong et al.'s (arXiv 2211.03563; Harrykjg-physics/self-supervised-atomic-representations): powers of ten, by
cross-validated mean absolute error. The scaler is fitted on the training part alone, in every fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from matgl_ssl.errors import ConfigError

GRID = tuple(float(value) for value in np.logspace(-10, 0, 11))
"""The published values of both hyperparameters."""
KERNELS = ("rbf", "laplacian")
Folds = int | Sequence[tuple[np.ndarray, np.ndarray]]
Scale = Literal["training part", "each part by itself"]


def kernel_ridge(
    *,
    kernels: Sequence[str] = KERNELS,
    alphas: Sequence[float] = GRID,
    gammas: Sequence[float] = GRID,
    cv: Folds = 10,
    scale: Scale = "training part",
) -> GridSearchCV:
    """Kernel ridge regression on standardised vectors. Cost and memory grow with the square of the training part.

    The target is standardised, too: far from all it was trained on, a kernel then says their mean, not zero.

    Args:
        kernels: Of ``rbf`` and ``laplacian``.
        alphas: Penalties to choose from.
        gammas: Inverse widths of the kernel to choose from.
        cv: Folds to choose by: a number, or ``grouped_folds`` of the training part.
        scale: What the vectors are standardised by. ``"each part by itself"`` is the published mistake: what a crystal
            is predicted to be then depends on the crystals predicted together with it.

    Returns:
        A search that is fitted with ``fit(vectors, targets)`` and then predicts with the best of the grid.
    """
    regression = TransformedTargetRegressor(KernelRidge(), transformer=StandardScaler())
    choices: dict[str, Sequence[Any]] = {"kernel": kernels, "alpha": alphas, "gamma": gammas}
    return searched(regression, {f"regression__regressor__{name}": list(v) for name, v in choices.items()}, cv, scale)


def best_kernel_ridge(
    numbers: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    weights: np.ndarray | None = None,
) -> TransformedTargetRegressor:
    """``kernel_ridge`` of the least cross-validated error, not fitted yet; found in a tenth of a search's time.

    All penalties of a kernel share one decomposition of its matrix.

    Args:
        numbers: Standardised numbers of crystals, ``(n, d)``.
        labels: Their labels, ``(n,)``.
        folds: Rows to train and to test on, for each fold.
        weights: How much each label counts, ``(n,)``.
    """
    counts = np.ones(len(labels)) if weights is None else weights
    errors: dict[tuple[str, float], np.ndarray] = {}
    for name, gamma in product(KERNELS, _GAMMAS):
        matrix = pairwise_kernels(numbers, metric=name, gamma=gamma)
        total = np.zeros(len(_ALPHAS))
        for train, test in folds:
            root = np.sqrt(counts[train])
            mean = np.average(labels[train], weights=counts[train])
            scale = np.std(labels[train]) or 1.0
            values, vectors = np.linalg.eigh(matrix[np.ix_(train, train)] * np.outer(root, root))
            projected = vectors.T @ (root * (labels[train] - mean) / scale)
            duals = root[:, None] * (vectors @ (projected[:, None] / (np.maximum(values, 0)[:, None] + _ALPHAS)))
            said = mean + scale * (matrix[np.ix_(test, train)] @ duals)
            total += counts[test] @ np.abs(said - labels[test, None])
        errors[name, gamma] = total
    name, gamma = min(errors, key=lambda each: errors[each].min())
    alpha = float(_ALPHAS[int(errors[name, gamma].argmin())])
    return TransformedTargetRegressor(KernelRidge(kernel=name, alpha=alpha, gamma=gamma), transformer=StandardScaler())


_ALPHAS = np.array(GRID[4:])
_GAMMAS = GRID[4::2]


def searched(regression: Any, grid: dict[str, list[Any]], cv: Folds, scale: Scale) -> GridSearchCV:
    """A search over a grid, by cross-validated mean absolute error, of a regression on standardised numbers."""
    if scale not in get_args(Scale):
        raise ConfigError(f"scale must be one of {', '.join(map(repr, get_args(Scale)))}, not {scale!r}.")
    scaler = StandardScaler() if scale == "training part" else FunctionTransformer(_by_itself)
    return GridSearchCV(
        Pipeline([("scaler", scaler), ("regression", regression)]), grid, scoring="neg_mean_absolute_error", cv=cv
    )


def _by_itself(vectors: np.ndarray) -> np.ndarray:
    return StandardScaler().fit_transform(vectors)
