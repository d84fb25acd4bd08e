"""What a user would do without a graph network: say the median, or grow a forest on descriptors of crystals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import PROPERTIES
from matgl_ssl.targets.bonds import CrystalBonds
from matgl_ssl.targets.composition_statistics import CompositionStatistics
from matgl_ssl.targets.coordination import Coordination
from matgl_ssl.targets.density import Density
from matgl_ssl.targets.space_group import N_SPACE_GROUPS, SpaceGroup
from matgl_ssl.targets.tight_binding import CrystalTightBinding
from matgl_ssl.targets.vibrations import CrystalVibrations

_COMPOSITION = CompositionStatistics(tuple(name for name in PROPERTIES if name != "one"))
_DENSITY, _SYMMETRY, _COORDINATION = Density(), SpaceGroup(), Coordination()
_TEXTBOOK = (CrystalBonds(), CrystalVibrations(), CrystalTightBinding())


def descriptors(crystal: Crystal) -> np.ndarray:
    """Composition statistics in the manner of magpie, density, symmetry, coordination, size of the cell: ``(42,)``.

    What cannot be computed is NaN.
    """
    around = _COORDINATION(crystal)
    known = around[np.isfinite(around).all(1)]
    coordination = np.concatenate([known.mean(0), known.std(0)]) if len(known) else np.full(4, np.nan)
    group = _SYMMETRY(crystal) / N_SPACE_GROUPS
    return np.concatenate([_COMPOSITION(crystal), _DENSITY(crystal), group, coordination, [len(crystal)]])


def descriptors_and_targets(crystal: Crystal) -> np.ndarray:
    """These, and what the recipe ``best`` teaches of bonds, vibrations and bands: ``(62,)``."""
    return np.concatenate([descriptors(crystal), *(target(crystal) for target in _TEXTBOOK)])


DESCRIBED: dict[str, Callable[[Crystal], np.ndarray]] = {
    "forest": descriptors,
    "forest-targets": descriptors_and_targets,
}
"""What each forest is given of a crystal; the second asks if targets are worth more to an encoder than as they are."""


def forest(vectors: np.ndarray, labels: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    """A random forest's prediction of new vectors, ``(n_new,)``; a third of the descriptors at each split."""
    model = RandomForestRegressor(500, max_features=1 / 3, random_state=seed, n_jobs=1)
    return np.asarray(model.fit(vectors, labels).predict(new))


def median(labels: np.ndarray, n: int) -> np.ndarray:
    """The constant of least mean absolute error on the labels, ``(n,)``."""
    return np.full(n, np.median(labels))
