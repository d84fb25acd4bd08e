"""Label columns: how many values there are, how they spread, and which stand far from all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from matgl_ssl.columns import quantity, unit_of
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.physics import Remark, extent, named_extent, says_per_atom
from matgl_ssl.crystals.physics.identify import EXPECTED

BINS = 16
_SHADES = " .:-=+*#%@"
_FAR = 10.0  # robust standard deviations from the median
_FEW = 0.005  # share of the values
_EXAMPLES = 3


@dataclass(frozen=True)
class Column:
    """What is known of a label column.

    Attributes:
        name: Its name.
        kind: ``number``; ``array`` (forces, a stress, a spectrum), whose root mean square stands for it; or ``text``.
        unit: As its name says; empty if it does not.
        present: Crystals with a value.
        missing: Crystals without.
        non_finite: Values that are infinite, or arrays with a number that is not finite.
        quartiles: Smallest value, quartiles, and largest; empty of text.
        histogram: Crystals in 16 equal bins between the 0.5th and 99.5th percentile, what is beyond in the outer ones.
        outliers: Values more than ten robust standard deviations from the median.
        examples: Ids of the furthest of them.
    """

    name: str
    kind: Literal["number", "array", "text"]
    unit: str
    present: int
    missing: int
    non_finite: int = 0
    quartiles: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()
    outliers: int = 0
    examples: tuple[str, ...] = ()

    def bars(self) -> str:
        """The histogram as a line of text: the darker a sign, the more crystals."""
        top = max(self.histogram, default=0)
        return "".join(_SHADES[-(-n * (len(_SHADES) - 1) // top)] if top else " " for n in self.histogram)


def columns(crystals: CrystalDataset) -> tuple[list[Column], list[Remark]]:
    """Look at every label column.

    Args:
        crystals: Crystals that the checks passed.

    Returns:
        What each is, and what is wrong with it.
    """
    found, remarks = [], []
    formulas, sizes = crystals.formulas(), crystals.sizes()
    for name in crystals.label_names:
        column, values = _column(crystals, name)
        found.append(column)
        remarks += _remarks(column, values)
        if column.kind == "number" and (says_per_atom(name) or quantity(name) == "energy") and name != "energy":
            remarks.append(named_extent(name, extent(values, sizes, formulas)))
    return found, remarks


def _column(crystals: CrystalDataset, name: str) -> tuple[Column, np.ndarray]:
    values, kind = _numbers(crystals, name)
    unit = dict(zip(("energy", "forces", "stress"), EXPECTED, strict=True)).get(name) or unit_of(name)
    if kind == "text":
        present = sum(value is not None for value in crystals.each(name))
        return Column(name, kind, unit, present, len(crystals) - present), values
    missing = int(np.isnan(values).sum())
    finite = values[np.isfinite(values)]
    infinite = int(np.isinf(values).sum())
    if not len(finite):
        return Column(name, kind, unit, len(values) - missing, missing, infinite), values
    low, high = np.quantile(finite, [0.005, 0.995])
    width = (high - low) or 1.0
    bins = np.clip((finite - low) / width * BINS, 0, BINS - 1).astype(int)
    quartiles = tuple(float(q) for q in np.quantile(finite, [0, 0.25, 0.5, 0.75, 1]))
    far = _far(values)
    furthest = np.argsort(-np.abs(values[far] - quartiles[2]))[:_EXAMPLES]
    names = tuple(crystals.select(np.flatnonzero(far)[furthest]).ids)
    counts = tuple(np.bincount(bins, minlength=BINS).tolist())
    column = Column(
        name, kind, unit, len(values) - missing, missing, infinite, quartiles, counts, int(far.sum()), names
    )  # fmt: skip
    return column, values


def _numbers(crystals: CrystalDataset, name: str) -> tuple[np.ndarray, Literal["number", "array", "text"]]:
    """One number for each crystal: NaN where there is none, infinity for an array that is not finite."""
    column = crystals.column(name)
    if column.dtype.kind in "fiub":
        return column.astype(float), "number"
    arrays = [value for value in column if value is not None]
    if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in arrays):
        return np.zeros(0), "text"
    return np.array([_size(value) for value in column], dtype=float), "array"


def _size(value: np.ndarray | None) -> float:
    if value is None or not len(value):
        return np.nan
    largest = float(np.abs(value).max())
    return float(np.sqrt(np.mean((value / (largest or 1.0)) ** 2)) * largest) if np.isfinite(largest) else np.inf


def _far(values: np.ndarray) -> np.ndarray:
    """Which values are far from the median, in units of half the width of the middle two thirds."""
    finite = values[np.isfinite(values)]
    low, middle, high = np.quantile(finite, [0.16, 0.5, 0.84])
    spread = (high - low) / 2 or float(np.std(finite))
    return np.asarray(np.isfinite(values) & (np.abs(values - middle) > _FAR * spread))


def _remarks(column: Column, values: np.ndarray) -> list[Remark]:
    found = []
    if column.kind != "text" and not column.present:
        advice = "Leave it out, or look at how it is written in the file."
        found.append(Remark("no-values", column.name, False, "no crystal has a value", advice))
    if column.non_finite:
        message = f"{column.non_finite} values are infinite or not a number"
        found.append(Remark("non-finite", column.name, False, message, "Remove them: a single one spoils training."))
    if sentinel := _sentinel(values):
        message = f"{sentinel[1]} values are {sentinel[0]:g}, far from all others: does it stand for missing?"
        found.append(Remark("sentinel", column.name, False, message, "Leave such cells empty, or write NaN."))
    elif 0 < column.outliers <= max(_FEW * column.present, 1):  # more are the tail of a distribution
        shown = ", ".join(column.examples) + (", ..." if column.outliers > len(column.examples) else "")
        message = f"{column.outliers} values stand far from the others ({shown})"
        advice = "Look at them; a logarithm (--transform log10) or another loss (--loss huber) minds them less."
        found.append(Remark("outliers", column.name, None, message, advice))
    return found


def _sentinel(values: np.ndarray) -> tuple[float, int] | None:
    """A number of nines that is repeated and far from everything, like -9999."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    numbers, counts = np.unique(finite[_far(finite)], return_counts=True)
    written: Sequence[str] = [f"{abs(number):g}" for number in numbers]
    repeated = [
        (float(v), int(n)) for v, n, s in zip(numbers, counts, written, strict=True)
        if n > 1 and len(s) > 1 and set(s) <= {"9", "."}
    ]  # fmt: skip
    return max(repeated, key=lambda pair: pair[1], default=None)
