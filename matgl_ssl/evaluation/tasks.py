"""Downstream tasks: crystals with one label, folds, and how many of the labels are revealed."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from matgl_ssl.columns import quantity
from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.crystals.tables import in_order
from matgl_ssl.errors import DataError
from matgl_ssl.training.pool import TARGET
from matgl_ssl.training.splits import fold_numbers

from .config import Part, TaskConfig
from .probes import chemical_systems, grouped_folds

logger = logging.getLogger(__name__)

Labels = int | Literal["all"]
ROOT = "MATGL_SSL_DATA"
N_FOLDS = 5
N_VALIDATION = 300
"""Crystals of the training part that a search is scored on."""


def locate(name: str, root: Path) -> str:
    """A data file under the root; other names (a hub's) as they are.

    Raises:
        DataError: If it looks like a file and is none.
    """
    path = root / name
    if path.exists():
        return str(path)
    if Path(name).suffix:
        raise DataError(f"No data file {path}. Set {ROOT} to the folder that holds the benchmark's files.")
    return name


def data_root(given: str | Path | None) -> Path:
    """The folder that data are named from: as given, from the environment, or the working directory."""
    return Path(given or os.environ.get(ROOT) or ".")


@dataclass(eq=False)
class Task:
    """A task's crystals, read.

    Attributes:
        name: Its name.
        config: What it was made from.
        crystals: Crystals with the one label ``target``, transformed; those without a label are left out.
        tested: Whether each crystal of a ``test_data`` task is of the test part; None for folds.
        folds: The fold of each crystal.
    """

    name: str
    config: TaskConfig
    crystals: CrystalDataset
    tested: np.ndarray | None
    folds: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """The transformed label of each crystal, shape ``(n,)``."""
        return self.crystals.column(TARGET).astype(float)

    @property
    def quantity(self) -> str:
        """What the target is."""
        return quantity(self.config.target, self.config.quantity)

    @cached_property
    def guarded_formulas(self) -> frozenset[str]:
        """Reduced formulas that must not be pretrained on.

        Those of all crystals; where labels are masked in a large set that is (part of) the corpus, of its test part.
        """
        formulas = self.crystals.formulas()
        return frozenset(formulas if self.tested is None else np.array(formulas, dtype=object)[self.tested])

    def test_rows(self, fold: int) -> np.ndarray:
        """Rows that are tested on.

        Raises:
            DataError: If there is no such fold.
        """
        rows = np.flatnonzero(self.folds == fold)
        if not len(rows):
            raise DataError(f"{self.name} has no fold {fold}; there are {sorted(set(self.folds.tolist()) - {-1})}.")
        return rows

    def scored_rows(self, part: Part, n: Labels, seed: int, fold: int) -> np.ndarray:
        """The test part, or rows of the training part that are not revealed: up to ``N_VALIDATION``, at random.

        Raises:
            DataError: If all labels of the training part are revealed.
        """
        if part == "test":
            return self.test_rows(fold)
        rows = self.revealed("all", seed, fold)[len(self.revealed(n, seed, fold)) :][:N_VALIDATION]
        if not len(rows):
            raise DataError(f"{self.name}, fold {fold}: no label is left to validate on. Reveal fewer.")
        return rows

    def revealed(self, n: Labels, seed: int, fold: int) -> np.ndarray:
        """Rows whose labels are revealed, in random order; fewer labels are the first of more.

        Raises:
            DataError: If the training part has fewer.
        """
        self.test_rows(fold)
        rows = np.flatnonzero(self.folds != fold)
        if n != "all" and n > len(rows):
            raise DataError(f"{self.name}, fold {fold}: {n} labels of {len(rows)} in the training part. Reveal fewer.")
        order = np.random.default_rng([seed, fold, 0xBE7C4]).permutation(len(rows))
        return rows[order if n == "all" else order[:n]]


def validation_folds(rows: np.ndarray, wanted: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training, validation) rows: fifths of the revealed ones, as many as validate on ``wanted`` labels."""
    fifths = [rows[i::N_FOLDS] for i in range(N_FOLDS)]
    enough = next((k for k in range(1, N_FOLDS) if sum(map(len, fifths[:k])) >= wanted), N_FOLDS)
    return [(np.setdiff1d(rows, part, assume_unique=True), part) for part in fifths[:enough] if len(part)]


def read_task(name: str, config: TaskConfig, root: Path) -> Task:
    """Read a task, its labels transformed, its folds made.

    Raises:
        DataError: If the data cannot be read, or lack a column.
    """
    columns = [config.target, *([config.fold_column] if config.fold_column else [])]
    parts = [read_crystals(locate(config.data, root), columns=columns)]
    if config.test_data:
        parts.append(read_crystals(locate(config.test_data, root), columns=columns))
    values = [_values(part, config) for part in parts]
    keep = [np.flatnonzero(np.isfinite(v)) for v in values]
    if not all(map(len, keep)):
        raise DataError(f"{name}: no crystal of {parts[0].source} has a usable {config.target!r}.")
    for part, rows in zip(parts, keep, strict=True):
        if left_out := len(part) + len(part.rejected) - len(rows):
            logger.warning(
                "%s: %d crystals of %s cannot be read or have no usable %s: they are left out.",
                name, left_out, part.source, config.target,
            )  # fmt: skip
    chosen = [part.select(rows) for part, rows in zip(parts, keep, strict=True)]
    folds = _folds(chosen, config)
    kept = np.flatnonzero(folds >= 0)
    crystals = _labelled(chosen, np.concatenate([v[rows] for v, rows in zip(values, keep, strict=True)]), kept)
    tested = folds[kept] == 0 if config.test_data else None
    return Task(name, config, crystals, tested, folds[kept])


def _values(crystals: CrystalDataset, config: TaskConfig) -> np.ndarray:
    values = crystals.column(config.target).astype(float)
    if config.per_atom:
        values = values / crystals.sizes()
    if config.transform == "log10":
        values = np.log10(np.where(values > 0, values, np.nan))
    return np.asarray(values)


def _folds(parts: list[CrystalDataset], config: TaskConfig) -> np.ndarray:
    """The fold of each crystal; with ``test_data`` 0 for the tested, -1 for their siblings, 1 for the others."""
    groups = [chemical_systems(part) if config.group == "chemical-system" else part.formulas() for part in parts]
    if config.test_data:
        tested = set(groups[1])
        return np.array([-1 if group in tested else 1 for group in groups[0]] + [0] * len(groups[1]))
    if config.fold_column:
        return np.nan_to_num(fold_numbers(parts[0], config.fold_column), nan=-1).astype(int)
    folds = np.zeros(len(parts[0]), dtype=int)
    for number, (_, rows) in enumerate(grouped_folds(groups[0], N_FOLDS)):
        folds[rows] = number
    return folds


def _labelled(parts: list[CrystalDataset], labels: np.ndarray, rows: np.ndarray) -> CrystalDataset:
    """The kept rows of all parts with the one label ``target``."""
    import datasets

    tables = [in_order(part.select_labels([]).table) for part in parts]
    table = in_order(datasets.concatenate_datasets(tables).select(rows))
    return CrystalDataset(table.add_column(TARGET, labels[rows]), source=parts[0].source)
