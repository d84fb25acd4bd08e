"""What a user would do without a graph network: say the median, or learn from descriptors of crystals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import QuantileRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import PROPERTIES
from matgl_ssl.targets.bonds import CrystalBonds
from matgl_ssl.targets.composition_statistics import CompositionStatistics
from matgl_ssl.targets.coordination import Coordination
from matgl_ssl.targets.density import Density
from matgl_ssl.targets.primitive import primitive_cell
from matgl_ssl.targets.space_group import N_SPACE_GROUPS, SpaceGroup
from matgl_ssl.targets.tight_binding import CrystalTightBinding
from matgl_ssl.targets.vibrations import CrystalVibrations

from .anchors import chgnet_vector, sevennet_vector
from .probes import GRID, kernel_ridge

_COMPOSITION = CompositionStatistics(tuple(name for name in PROPERTIES if name != "one"))
_DENSITY, _SYMMETRY, _COORDINATION = Density(), SpaceGroup(), Coordination()
_TEXTBOOK = (CrystalBonds(), CrystalVibrations(), CrystalTightBinding())


def descriptors(crystal: Crystal) -> np.ndarray:
    """Composition statistics as in magpie, density, symmetry, coordination, size of the primitive cell: ``(42,)``.

    They do not depend on the cell that a crystal is described in. What cannot be computed is NaN.
    """
    around = _COORDINATION(crystal)
    known = around[np.isfinite(around).all(1)]
    coordination = np.concatenate([known.mean(0), known.std(0)]) if len(known) else np.full(4, np.nan)
    group = _SYMMETRY(crystal) / N_SPACE_GROUPS
    size = len(primitive_cell(crystal)[0])
    return np.concatenate([_COMPOSITION(crystal), _DENSITY(crystal), group, coordination, [size]])


def descriptors_and_targets(crystal: Crystal) -> np.ndarray:
    """These, and what the recipe ``textbook`` teaches of bonds, vibrations and bands: ``(62,)``."""
    return np.concatenate([descriptors(crystal), estimates(crystal)])


def estimates(crystal: Crystal) -> np.ndarray:
    """What textbooks' rules say of a crystal's bonds, vibrations and bands: ``(20,)``."""
    return np.concatenate([target(crystal) for target in _TEXTBOOK])


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


def line(seed: int) -> GridSearchCV:
    """A straight line along one of the numbers, of least absolute error; which one, cross-validation says."""
    return GridSearchCV(
        Pipeline(
            [
                ("imputer", SimpleImputer(strategy="median", keep_empty_features=True)),
                ("one", FunctionTransformer(_one)),
                ("line", QuantileRegressor(quantile=0.5, alpha=0.0)),
            ]
        ),
        {"one__kw_args": [{"column": column} for column in range(sum(target.size for target in _TEXTBOOK))]},
        scoring="neg_mean_absolute_error",
        cv=5,
    )


def _one(numbers: np.ndarray, column: int) -> np.ndarray:
    return numbers[:, [column]]


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
    model: Callable[[int], RandomForestRegressor | GridSearchCV | Pipeline]


DESCRIBED = {
    "forest": Described(descriptors, forest),
    "forest-targets": Described(descriptors_and_targets, forest),
    "tabular": Described(descriptors, tabular),
    "tabular-targets": Described(descriptors_and_targets, tabular),
    "line": Described(estimates, line),
    "chgnet-vectors": Described(chgnet_vector, kernels),
    "sevennet-vectors": Described(sevennet_vector, kernels),
}
"""``-targets`` ask if targets are worth more to an encoder than as they are, ``line`` what a single one is worth."""


def median(labels: np.ndarray, n: int) -> np.ndarray:
    """The constant of least mean absolute error on the labels, ``(n,)``."""
    return np.full(n, np.median(labels))
