"""Whether a label grows with the cell: like a total energy, which is N times that of an atom, or not at all.

The exponent p of ``|label| ~ N**p`` is 1 for an extensive quantity and 0 for an intensive one. It is taken among
crystals of one formula, where chemistry cannot feign it, and over all where no formula comes in several sizes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from matgl_ssl.crystals.physics.remark import Remark

_MIN_FORMULAS = 3
_MIN_CRYSTALS = 50
_PER_ATOM = re.compile(r"(_|\b|/)(per_?)?atom\b|peratom", re.IGNORECASE)


@dataclass(frozen=True)
class Extent:
    """How a label grows with the number of atoms.

    Attributes:
        exponent: p of ``|label| ~ N**p``; NaN where sizes do not vary.
        error: Its standard error.
        kind: The verdict; None where the numbers do not tell.
        evidence: What they were taken from.
    """

    exponent: float
    error: float
    kind: Literal["extensive", "intensive"] | None
    evidence: str


def extent(values: np.ndarray, sizes: np.ndarray, formulas: Sequence[str]) -> Extent:
    """Find out whether a label grows with the cell.

    Args:
        values: The label of each crystal, shape ``(n,)``; NaN and zero say nothing.
        sizes: Atoms of each crystal, shape ``(n,)``.
        formulas: Reduced formula of each crystal.
    """
    has = np.isfinite(values) & (values != 0)
    x, y = np.log(np.maximum(sizes[has], 1)), np.log(np.abs(values[has]))
    _, group = np.unique(np.array(formulas, dtype=str)[has], return_inverse=True)
    slopes = _within(x, y, group)
    if len(slopes) >= _MIN_FORMULAS:
        exponent = float(np.median(slopes))
        spread = 1.4826 * float(np.median(np.abs(slopes - exponent)))
        error = 1.2533 * spread / np.sqrt(len(slopes))
        return _verdict(exponent, error, 0.25, f"{len(slopes)} formulas with cells of several sizes")
    if len(x) < _MIN_CRYSTALS or np.std(x) < 0.2:
        return Extent(np.nan, np.nan, None, "too few crystals of different sizes")
    (exponent, _), covariance = np.polyfit(x, y, 1, cov=True)
    return _verdict(float(exponent), float(np.sqrt(covariance[0, 0])), 0.15, f"{len(x)} crystals")


def _within(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Least-squares slope within each group in which ``x`` varies."""
    counts = np.maximum(np.bincount(group), 1)
    dx, dy = x - (np.bincount(group, x) / counts)[group], y - (np.bincount(group, y) / counts)[group]
    squares = np.bincount(group, dx * dx)
    varies = squares > 0.05
    return np.asarray(np.bincount(group, dx * dy)[varies] / squares[varies])


def _verdict(exponent: float, error: float, tolerance: float, evidence: str) -> Extent:
    kind: Literal["extensive", "intensive"] | None = None
    if error < 0.1:
        kind = "extensive" if abs(exponent - 1) < tolerance else "intensive" if abs(exponent) < tolerance else None
    return Extent(exponent, error, kind, evidence)


def says_per_atom(column: str) -> bool:
    """Whether a column's name says that it is divided by the number of atoms."""
    return _PER_ATOM.search(column) is not None


def named_extent(column: str, found: Extent) -> Remark:
    """What a label's growth means for a column of this name.

    Args:
        column: The column's name; that of ``energy`` must be a total energy.
        found: How it grows.
    """
    code, how = "extent", f"grows as N^{found.exponent:.2f} with the number N of atoms ({found.evidence})"
    if found.kind is None:
        return Remark(code, column, None, f"whether it is per atom or per cell cannot be determined: {found.evidence}")
    if column == "energy" and found.kind == "intensive":
        return Remark(
            code, column, False, f"does not grow with the cell: it is per atom already; {how}",
            "Give --energy-unit eV/atom, or multiply it by the number of atoms.",
        )  # fmt: skip
    if says_per_atom(column) and found.kind == "extensive":
        message = f"is said to be per atom, but {how}"
        return Remark(code, column, False, message, "Divide it by the number of atoms, or rename it.")
    return Remark(code, column, True, f"{found.kind}: {how}")


def trained_extent(column: str, found: Extent, extensive: bool) -> Remark | None:
    """What is wrong with training on a label as one that grows, or as one that does not; None if nothing."""
    if found.kind == "extensive" and not extensive:
        message = f"grows with the cell (label / number of atoms is about constant; {found.evidence})"
        return Remark(
            "extent", column, False, message, "Train it with --extensive, or divide it by the number of atoms."
        )
    if found.kind == "intensive" and extensive:
        message = f"does not grow with the number of atoms ({found.evidence})"
        return Remark("extent", column, False, message, "Drop --extensive.")
    return None
