"""Folds that keep siblings together: what is learned from one crystal of a group says too much of the others."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ConfigError

_PARTS = 5
"""Parts of the range of labels that every fold shall have."""


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


def balanced_folds(groups: Sequence[str] | np.ndarray, labels: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """The fold of each row: no group is in two of them, and each has about as many rows of each part of the labels.

    Args:
        groups: The group of each row.
        labels: Numbers, which are cut at their quintiles, or numbers of classes.
        n: Number of folds; fewer if there are fewer groups.
        seed: Seed of the assignment.

    Returns:
        Shape ``(len(groups),)``, from 0.

    Raises:
        ConfigError: If there are fewer than two groups.
    """
    _, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n = min(n, int(members.max()) + 1)
    if n < 2:
        raise ConfigError(f"All labels are of {groups[0]}: there is no other formula to learn it from. Add some.")
    numbers = np.unique(labels, return_inverse=True)[1]
    if numbers.max() >= _PARTS:
        parts = min(_PARTS, max(1, len(labels) // n))
        numbers = np.searchsorted(np.quantile(labels, np.arange(1, parts) / parts), labels)
    if np.bincount(numbers).max() < n:
        numbers = np.zeros_like(numbers)
    folds = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a part of the labels may have fewer rows than there are folds
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        for fold, (_, rows) in enumerate(splitter.split(numbers, numbers, members)):
            folds[rows] = fold
    return np.unique(folds, return_inverse=True)[1]  # one large group can leave a fold empty


def chemical_systems(crystals: Iterable[Crystal]) -> list[str]:
    """The elements of each crystal, as ``Fe-O``."""
    return ["-".join(sorted(set(crystal.symbols))) for crystal in crystals]
