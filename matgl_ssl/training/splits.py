"""Training, validation and test crystals of a labelled table."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import DataError

from .config import FinetuneConfig
from .data import random_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts; validation and test may be empty."""

    train: CrystalDataset
    val: CrystalDataset
    test: CrystalDataset

    def parts(self) -> dict[str, CrystalDataset]:
        """Each part under its name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def fold_numbers(crystals: CrystalDataset, column: str) -> np.ndarray:
    """The fold of each crystal, NaN for those that have none, from numbers or their text.

    Raises:
        DataError: If the column holds something else.
    """
    values = crystals.column(column)
    try:
        return np.array([np.nan if value is None else float(value) for value in values.tolist()])
    except (TypeError, ValueError):
        raise DataError(f"{crystals.source}: {column} must hold fold numbers, not {values[0]!r}.") from None


def split(crystals: CrystalDataset, config: FinetuneConfig, val: Any = None, test: Any = None) -> Splits:
    """Split by column, by fraction, or by what comes from elsewhere.

    Everything random is a function of the seed and the number of crystals, so that two runs with different models see
    the same parts.

    Args:
        crystals: Checked crystals that carry the target.
        config: How to split.
        val: Checked validation crystals from elsewhere.
        test: Checked test crystals from elsewhere.

    Raises:
        DataError: If the fold is empty, or nothing is left to train on.
    """
    if test is not None:
        rest = crystals
    elif config.split_column is not None:
        folds = fold_numbers(crystals, config.split_column)
        test = crystals.select(np.flatnonzero(folds == config.fold))
        rest = crystals.select(np.flatnonzero(np.isfinite(folds) & (folds != config.fold)))
        if lost := len(crystals) - len(test) - len(rest):
            logger.warning("%d crystals have no %s and are left out.", lost, config.split_column)
        if not len(test):
            have = ", ".join(f"{fold:g}" for fold in sorted(set(folds[np.isfinite(folds)])))
            raise DataError(f"No crystal has {config.split_column} = {config.fold}; there are {have}.")
    else:
        rows, held_out = random_split(len(crystals), config.test_fraction, config.seed)
        rest, test = crystals.select(rows), crystals.select(held_out)
    if config.n_train is not None and config.n_train < len(rest):
        rest = rest.select(np.sort(np.random.default_rng([config.seed, 1]).permutation(len(rest))[: config.n_train]))
    if val is None:
        rows, held_out = random_split(len(rest), config.val_fraction, config.seed)
        rest, val = rest.select(rows), rest.select(held_out)
    if not len(rest):
        raise DataError("Nothing is left to train on after splitting; lower --test-fraction or --val-fraction.")
    return Splits(rest, val, test)
