"""What a user would do without a graph network: say the median, or learn from descriptors of crystals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from matgl_ssl.crystals import Crystal
from matgl_ssl.ensemble.kernels import GRID, kernel_ridge
from matgl_ssl.ensemble.members.line import line
from matgl_ssl.targets.descriptors import Descriptors, Estimates, descriptors_and_targets

from .anchors import chgnet_vector, sevennet_vector
from .foundation import tabicl, tabpfn

descriptors, estimates = Descriptors(), Estimates()


def forest(seed: int) -> RandomForestRegressor:
    """500 trees; a third of the descriptors at each split."""
    return RandomForestRegressor(500, max_features=1 / 3, random_state=seed, n_jobs=1)


def tabular(seed: int) -> GridSearchCV:
    """What does best in cross-validation: extremely randomised trees (Geurts et al., 2006), or a kernel ridge."""
    kernels = kernel_ridge(alphas=GRID[4::2], gammas=GRID[4::2])
    return GridSearchCV(
        Pipeline([("imputer", SimpleImputer(keep_empty_features=True)), ("model", "passthrough")]),
        [
            {"model": [ExtraTreesRegressor(500, random_state=seed, n_jobs=1)]},
            {"model": [kernels.estimator], **{f"model__{name}": values for name, values in kernels.param_grid.items()}},
        ],
        scoring="neg_mean_absolute_error",
        cv=5,
    )


def kernels(seed: int) -> Pipeline:
    """A kernel ridge."""
    search = kernel_ridge(alphas=GRID[4::2], gammas=GRID[4::2], cv=5)
    return Pipeline([("imputer", SimpleImputer(keep_empty_features=True)), ("model", search)])


class Described(NamedTuple):
    """An arm that learns from numbers of a crystal.

    Attributes:
        describe: The numbers.
        model: What learns from them, from a seed.
    """

    describe: Callable[[Crystal], np.ndarray]
    model: Callable[[int], Any]


DESCRIBED = {
    "forest": Described(descriptors, forest),
    "forest-targets": Described(descriptors_and_targets, forest),
    "tabular": Described(descriptors, tabular),
    "tabular-targets": Described(descriptors_and_targets, tabular),
    "line": Described(estimates, line),
    "chgnet-vectors": Described(chgnet_vector, kernels),
    "sevennet-vectors": Described(sevennet_vector, kernels),
    "tabpfn": Described(descriptors_and_targets, tabpfn),
    "tabicl": Described(descriptors_and_targets, tabicl),
}
"""``-targets`` ask if targets are worth more to an encoder than as they are, ``line`` what a single one is worth."""


def median(labels: np.ndarray, n: int) -> np.ndarray:
    """The constant of least mean absolute error on the labels, ``(n,)``."""
    return np.full(n, np.median(labels))
