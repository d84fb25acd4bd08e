"""Duplicates: crystals that are there twice, in another cell or under another name, and labels that disagree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.duplicates import find_duplicates
from matgl_ssl.crystals.physics import Remark

from .labels import Column

_EXAMPLES = 3
_MOST = 20_000
_LARGE = 30
_CROWD = 250
"""Crystals of one formula, with more than ``_LARGE`` atoms, that are compared: frames of a trajectory are all alike."""


def affordable(crystals: CrystalDataset) -> CrystalDataset:
    """Those among which duplicates are found in minutes: all, or of many a random part."""
    sizes, formulas, seen, rows = crystals.sizes(), crystals.formulas(), Counter[str](), []
    for row in np.random.default_rng(0).permutation(len(crystals))[:_MOST].tolist():
        seen[formulas[row]] += bool(sizes[row] > _LARGE)
        if sizes[row] <= _LARGE or seen[formulas[row]] <= _CROWD:
            rows.append(row)
    return crystals.select(sorted(rows))


@dataclass(frozen=True)
class Duplicates:
    """Crystals that repeat another.

    Attributes:
        looked_at: Crystals among which they were sought.
        repeats: Crystals that an earlier one of them is already: in a supercell, shifted, or renamed.
        examples: Ids of some of them, each with that of the first.
    """

    looked_at: int
    repeats: int
    examples: tuple[tuple[str, str], ...]


def duplicates(crystals: CrystalDataset, labels: list[Column]) -> tuple[Duplicates, list[Remark]]:
    """Find duplicates, and what they say of the labels.

    Args:
        crystals: Crystals that the checks passed.
        labels: Their columns.
    """
    crystals = affordable(crystals)
    first = find_duplicates(crystals)
    rows = np.flatnonzero(first >= 0)
    names = crystals.select(np.concatenate([rows, first[rows]])).ids if len(rows) else []
    pairs = tuple(zip(names[: len(rows)], names[len(rows) :], strict=True))
    found = Duplicates(len(crystals), len(rows), pairs[:_EXAMPLES])
    if not len(rows):
        return found, []
    shown = ", ".join(f"{a} is {b}" for a, b in pairs[:_EXAMPLES]) + (", ..." if len(pairs) > _EXAMPLES else "")
    message = f"{len(rows)} of {len(crystals)} crystals repeat another ({shown})"
    advice = "Remove them with mgl-ssl prepare; --split formula keeps them in one part."
    remarks = [Remark("duplicates", "crystals", None, message, advice)]
    for column in labels:
        if column.kind == "number" and column.quartiles:
            remarks += _contradictions(column, crystals.column(column.name).astype(float), rows, first[rows])
    return found, remarks


def _contradictions(column: Column, values: np.ndarray, rows: np.ndarray, first: np.ndarray) -> list[Remark]:
    """Whether equal crystals have labels that differ by more than half of what different crystals' labels do."""
    spread = column.quartiles[3] - column.quartiles[1]
    apart = np.abs(values[rows] - values[first])
    n = int((apart > 0.5 * spread).sum()) if spread > 0 else 0
    if n < 3 or n < 0.1 * len(rows):
        return []
    message = f"{n} of {len(rows)} duplicates have another value than the crystal they repeat"
    return [Remark("contradiction", column.name, None, message, "Is it per cell, or of another state or method?")]
