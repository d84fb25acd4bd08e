"""Training, validation and test crystals of a labelled table."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, DataError

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

    Crystals are ordered by a hash of the seed and of what they are. The parts depend on nothing else, so that runs with
    other models, or with a few crystals more, test on the same ones. By default crystals of one reduced formula are in
    one part: polymorphs have similar labels, and a test on the polymorph of a training crystal is too easy.

    Args:
        crystals: Crystals that carry the target, before any check that depends on a model.
        config: How to split.
        val: Validation crystals from elsewhere.
        test: Test crystals from elsewhere.

    Raises:
        ConfigError: If two options say what to test on.
        DataError: If the fold is empty, or nothing is left to train on.
    """
    if test is not None and config.split_column is not None:
        raise ConfigError("--split-column and --test-data both choose the test crystals: leave one of them out.")
    rest = crystals
    if test is not None:
        pass
    elif config.split_column is not None:
        rest, test = _fold(crystals, config.split_column, config.fold)
    else:
        rest, test = _held_out(crystals, config.test_fraction, config, "test")
    if config.n_train is not None and config.n_train < len(rest):
        order = hash_order(rest.ids, f"{config.seed} n_train")
        if config.split == "shuffle":
            order = np.random.default_rng([config.seed, 1]).permutation(len(rest))
        rest = rest.select(np.sort(order[: config.n_train]))
    if val is None:
        rest, val = _held_out(rest, config.val_fraction, config, "val")
    if not len(rest):
        raise DataError("Nothing is left to train on after splitting; lower --test-fraction or --val-fraction.")
    return Splits(rest, val, test)


def hash_order(names: Sequence[str], salt: str) -> np.ndarray:
    """Row numbers in an order that each name decides for itself, like a shuffle that knows no other name."""
    digests = [hashlib.sha256(f"{salt} {name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)


def _fold(crystals: CrystalDataset, column: str, fold: int) -> tuple[CrystalDataset, CrystalDataset]:
    folds = fold_numbers(crystals, column)
    test = crystals.select(np.flatnonzero(folds == fold))
    rest = crystals.select(np.flatnonzero(np.isfinite(folds) & (folds != fold)))
    if lost := len(crystals) - len(test) - len(rest):
        logger.warning("%d crystals have no %s and are left out.", lost, column)
    if not len(test):
        have = ", ".join(f"{found:g}" for found in sorted(set(folds[np.isfinite(folds)])))
        raise DataError(f"No crystal has {column} = {fold}; there are {have}.")
    return rest, test


def _held_out(
    crystals: CrystalDataset, fraction: float, config: FinetuneConfig, part: str
) -> tuple[CrystalDataset, CrystalDataset]:
    """What stays, and a share that is held out: whole formulas that fit into it, or single crystals."""
    if config.split == "shuffle":
        kept, held_out = random_split(len(crystals), fraction, config.seed)
        return crystals.select(kept), crystals.select(held_out)
    wanted = min(len(crystals) - 1, max(1, round(fraction * len(crystals)))) if fraction > 0 else 0
    groups = crystals.formulas() if config.split == "formula" else crystals.ids
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    names = list(members)
    rows: list[int] = []
    for i in hash_order(names, f"{config.seed} {part}"):
        if len(rows) + len(members[names[i]]) <= wanted:
            rows += members[names[i]]
    if wanted and not rows:
        logger.warning(
            "Every formula has more than the %d crystals of the %s part: crystals are split one by one, and polymorphs "
            "are in both parts. --split random does the same without this warning.", wanted, part,
        )  # fmt: skip
        rows = hash_order(crystals.ids, f"{config.seed} {part}")[:wanted].tolist()
    kept = np.setdiff1d(np.arange(len(crystals)), rows)
    return crystals.select(kept), crystals.select(np.sort(np.array(rows, dtype=np.int64)))
