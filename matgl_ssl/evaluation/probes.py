"""Ridge, kernel ridge and a small perceptron on a representation, with the scaler inside, and folds by groups.

The probes of Kong et al. (arXiv 2211.03563; Harrykjg-physics/self-supervised-atomic-representations): standardised
vectors, hyperparameters on powers of ten by tenfold cross-validated mean absolute error. Deviations: the scaler is
fitted on the training part alone, in every fold (theirs scales the test vectors by their own mean and deviation:
``scale="each part by itself"``), and the second, finer grid around the best is left to ``alphas`` and ``gammas``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ConfigError

GRID = tuple(float(value) for value in np.logspace(-10, 0, 11))
"""The published values of both hyperparameters."""
KERNELS = ("rbf", "laplacian")
Folds = int | Sequence[tuple[np.ndarray, np.ndarray]]
Scale = Literal["training part", "each part by itself"]


def ridge(
    *, alphas: Sequence[float] = tuple(np.logspace(-4, 6, 11)), cv: Folds = 10, scale: Scale = "training part"
) -> GridSearchCV:
    """Ridge regression on standardised vectors.

    Args:
        alphas: Penalties to choose from. Standardised vectors want larger ones than a kernel does.
        cv: Folds to choose by: a number, or ``grouped_folds`` of the training part.
        scale: What the vectors are standardised by. ``"each part by itself"`` is the published mistake: what a crystal
            is predicted to be then depends on the crystals predicted together with it.

    Returns:
        A search that is fitted with ``fit(vectors, targets)`` and then predicts with the best penalty.
    """
    return _search(Ridge(), {"regression__alpha": list(alphas)}, cv, scale)


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
    return _search(regression, {f"regression__regressor__{name}": list(v) for name, v in choices.items()}, cv, scale)


def mlp(*, alphas: Sequence[float] = (1e-3, 1e-1, 1e1), hidden: int = 64, cv: Folds = 3, seed: int = 0) -> GridSearchCV:
    """A small perceptron on standardised vectors, by L-BFGS, the target standardised, too.

    Args:
        alphas: Penalties of its weights to choose from.
        hidden: Width of its one hidden layer.
        cv: Folds to choose by: a number, or ``grouped_folds`` of the training part.
        seed: Seed of its weights.

    Returns:
        A search that is fitted with ``fit(vectors, targets)`` and then predicts with the best penalty.
    """
    network = MLPRegressor(hidden_layer_sizes=(hidden,), solver="lbfgs", max_iter=500, max_fun=5000, random_state=seed)
    regression = TransformedTargetRegressor(network, transformer=StandardScaler())
    return _search(regression, {"regression__regressor__alpha": list(alphas)}, cv, "training part")


def _search(regression: Any, grid: dict[str, list[Any]], cv: Folds, scale: Scale) -> GridSearchCV:
    if scale not in get_args(Scale):
        raise ConfigError(f"scale must be one of {', '.join(map(repr, get_args(Scale)))}, not {scale!r}.")
    scaler = StandardScaler() if scale == "training part" else FunctionTransformer(_by_itself)
    return GridSearchCV(
        Pipeline([("scaler", scaler), ("regression", regression)]), grid, scoring="neg_mean_absolute_error", cv=cv
    )


def _by_itself(vectors: np.ndarray) -> np.ndarray:
    return StandardScaler().fit_transform(vectors)


def grouped_folds(groups: Sequence[str], n: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds in which all members of a group are on the same side.

    Args:
        groups: The group of each row: ``chemical_systems``, formulas, or the crystal that an atom belongs to.
        n: Number of folds; each row is in the test part of one.
        seed: Seed of the assignment of groups to folds.

    Returns:
        Rows to train and to test on, for each fold.

    Raises:
        ConfigError: If there are fewer groups than folds.
    """
    n_groups = len(set(groups))
    if not 2 <= n <= n_groups:
        raise ConfigError(f"{n} folds of {n_groups} groups: there must be at least two, and a group for each.")
    _, labels = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return list(GroupKFold(n, shuffle=True, random_state=seed).split(labels, groups=labels))


def chemical_systems(crystals: Iterable[Crystal]) -> list[str]:
    """The elements of each crystal, as ``Fe-O``."""
    return ["-".join(sorted(set(crystal.symbols))) for crystal in crystals]
