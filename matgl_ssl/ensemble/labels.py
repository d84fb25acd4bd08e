"""The labelled crystals of a target: read, looked at, and what is left out counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from matgl_ssl._files import digest
from matgl_ssl.columns import unit_of
from matgl_ssl.crystals import CrystalDataset, check_dataset
from matgl_ssl.crystals.labels import numbers
from matgl_ssl.crystals.physics import extent, trained_extent
from matgl_ssl.errors import DataError
from matgl_ssl.targets.compute import structures_key
from matgl_ssl.training.data import read_source

from .config import FitConfig

logger = logging.getLogger(__name__)

FEWEST = 10
"""Labels below which no error can be estimated."""
_MOST_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Labelled:
    """A target with the crystals that have it.

    Attributes:
        name: The target.
        unit: Its unit; empty if none is known.
        crystals: The crystals, without labels.
        labels: A number for each, per atom if the target is a sum over atoms; or the number of its class, ``(n,)``.
        weights: How much each counts, ``(n,)``; None if all count the same.
        classes: The classes; empty for numbers.
        n_total: Crystals that were given.
        n_unlabelled: Those without a label.
        n_refused: Those that cannot be trusted.
    """

    name: str
    unit: str
    crystals: CrystalDataset
    labels: np.ndarray
    weights: np.ndarray | None
    classes: tuple[str, ...]
    n_total: int
    n_unlabelled: int
    n_refused: int

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def groups(self) -> np.ndarray:
        """The reduced formula of each crystal."""
        return np.array(self.crystals.formulas(), dtype=str)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of crystals, labels and weights."""
        weights = b"" if self.weights is None else self.weights.tobytes()
        facts = digest([self.labels.tobytes(), weights, repr(self.classes)], 32)
        return structures_key(self.crystals, facts)


def read_labelled(data: Any, config: FitConfig) -> list[Labelled]:
    """Read the labelled crystals of each target.

    Raises:
        DataError: If there are too few labels, all are equal, or a column is missing or holds something else.
    """
    extra = [config.weight_column] if config.weight_column else []
    crystals = read_source(data, columns=[*config.target, *extra])
    n_read = len(crystals) + len(crystals.rejected)
    crystals, report = check_dataset(crystals)
    report.tell("the report")
    return [_labelled(crystals, name, config, n_read) for name in config.target]


def _labelled(crystals: CrystalDataset, name: str, config: FitConfig, n_total: int) -> Labelled:
    classes: tuple[str, ...] = ()
    if config.task == "classification":
        labels, classes = _classes(crystals, name)
    else:
        labels = numbers(crystals, name)
    weights = None if config.weight_column is None else numbers(crystals, config.weight_column)
    has = np.isfinite(labels)
    if weights is not None:
        if (weights[has] < 0).any():
            raise DataError(f"{crystals.source}: {config.weight_column} has negative numbers; a weight is 0 or more.")
        has &= np.nan_to_num(weights) > 0
    rows = np.flatnonzero(has)
    if len(rows) < FEWEST:
        raise DataError(
            f"{crystals.source} has {len(rows)} usable labels of {name!r}, and an error cannot be estimated with fewer "
            f"than {FEWEST}. Label more crystals."
        )
    kept, labels = crystals.select(rows), labels[rows]
    if len(np.unique(labels)) == 1:
        value = classes[int(labels[0])] if classes else f"{labels[0]:g}"
        raise DataError(
            f"{crystals.source}: all {len(rows)} labels of {name!r} are {value}. There is nothing to learn."
        )
    if not classes:
        _refuse_outside(labels, kept.ids, name, config)
        grows = extent(labels, kept.sizes(), kept.formulas())
        if remark := trained_extent(name, grows, config.per_atom):
            logger.warning("%s", remark)
        labels = labels / kept.sizes() if config.per_atom else labels
    n_refused = n_total - len(crystals)
    return Labelled(
        name, config.unit or unit_of(name), kept.select_labels([]), labels, None if weights is None else weights[rows],
        classes, n_total, len(crystals) - len(rows), n_refused,
    )  # fmt: skip


def _classes(crystals: CrystalDataset, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each crystal's class, NaN where there is none, and the classes."""
    values = crystals.column(name).tolist()
    known = [None if value is None or value != value or value == "" else value for value in values]
    found = sorted({value for value in known if value is not None}, key=lambda value: (str(type(value)), value))
    classes = tuple(str(value) for value in found)
    if len(classes) > _MOST_CLASSES:
        raise DataError(
            f"{crystals.source}: {name!r} has {len(classes)} different values, and classification is for up to "
            f"{_MOST_CLASSES} classes. Leave out --task classification if they are numbers."
        )
    number = {value: float(i) for i, value in enumerate(found)}
    return np.array([np.nan if value is None else number[value] for value in known]), classes


def _refuse_outside(labels: np.ndarray, ids: Sequence[str], name: str, config: FitConfig) -> None:
    low, high = -np.inf if config.lower_bound is None else config.lower_bound, config.upper_bound
    outside = np.flatnonzero((labels < low) | (labels > (np.inf if high is None else high)))
    if len(outside):
        first = outside[0]
        raise DataError(
            f"{len(outside)} labels of {name!r} are outside of the bounds that were given, as that of {ids[first]} "
            f"({labels[first]:g}). Correct the labels or the bounds."
        )
