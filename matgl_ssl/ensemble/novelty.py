"""Crystals unlike all that carry a label: elements that none of them has, or far from every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pymatgen.core import Element
from sklearn.neighbors import NearestNeighbors

_FAR = 0.95
"""Share of the labelled crystals that are not far from the others."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The labelled crystals, as numbers that are comparable with each other.

    Attributes:
        mean: Mean of each number, ``(d,)``.
        scale: Its standard deviation, ``(d,)``; infinite for a number that is the same for all.
        points: The labelled crystals in these units, ``(n, d)``.
        elements: Atomic numbers that some labelled crystal has.
        usual: A distance that all but a twentieth of the labelled crystals are within, seen from other folds.
    """

    mean: np.ndarray
    scale: np.ndarray
    points: np.ndarray
    elements: frozenset[int]
    usual: float

    @classmethod
    def of(cls, numbers: np.ndarray, elements: Sequence[np.ndarray], folds: np.ndarray) -> tuple[Self, np.ndarray]:
        """The neighbourhood, and the distance of each labelled crystal to the nearest one of another fold.

        Args:
            numbers: Descriptors or vectors of the labelled crystals, ``(n, d)``; NaN where one is missing.
            elements: Atomic numbers of each.
            folds: The fold of each.
        """
        known = np.where(np.isfinite(numbers), numbers, np.nan)
        present = np.isfinite(known).any(0)
        mean, scale = np.zeros(known.shape[1]), np.full(known.shape[1], np.inf)
        mean[present], deviation = np.nanmean(known[:, present], 0), np.nanstd(known[:, present], 0)
        scale[present] = np.where(deviation > 1e-9 * np.maximum(1, np.abs(mean[present])), deviation, np.inf)
        points = _standardised(numbers, mean, scale)
        distances = np.zeros(len(points))
        for fold in np.unique(folds):
            inside = folds == fold
            distances[inside] = _nearest(points[~inside], points[inside])
        found = frozenset(int(z) for numbers_of in elements for z in numbers_of)
        usual = max(float(np.quantile(distances, _FAR)), 1e-9)
        return cls(mean, scale, points, found, usual), distances

    def distances(self, numbers: np.ndarray) -> np.ndarray:
        """The distance of other crystals to the nearest labelled one, ``(n,)``; infinite without any number."""
        found = _nearest(self.points, self.standardised(numbers))
        return np.where(np.isfinite(numbers).any(1), found, np.inf)

    def standardised(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of crystals in the units of ``points``, ``(n, d)``."""
        return _standardised(numbers, self.mean, self.scale)

    def unseen(self, elements: np.ndarray) -> list[str]:
        """Those of a crystal's elements that no labelled crystal has."""
        return [Element.from_Z(int(z)).symbol for z in np.unique(elements) if int(z) not in self.elements]

    def flag(self, distance: float, elements: np.ndarray) -> str:
        """Why the crystal is unlike the labelled ones; empty if it is like them."""
        if unseen := self.unseen(elements):
            return f"no labelled crystal has {', '.join(unseen)}"
        return "unlike every labelled crystal" if distance > 1.5 * self.usual else ""

    def to_dict(self) -> dict[str, Any]:
        """What is kept beside ``points``."""
        return {
            "mean": self.mean.tolist(), "scale": [None if np.isinf(s) else float(s) for s in self.scale],
            "elements": sorted(self.elements), "usual": self.usual,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: dict[str, Any], points: np.ndarray) -> Self:
        """The reverse."""
        scale = np.array([np.inf if s is None else s for s in content["scale"]])
        return cls(np.array(content["mean"]), scale, points, frozenset(content["elements"]), content["usual"])


def _standardised(numbers: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """In units of the deviation; what is missing is the mean."""
    return np.asarray(np.nan_to_num((numbers - mean) / scale, nan=0.0, posinf=0.0, neginf=0.0))


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.asarray(NearestNeighbors(n_neighbors=1).fit(points).kneighbors(others)[0][:, 0])
