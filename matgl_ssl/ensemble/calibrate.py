"""Intervals around predictions: out-of-fold errors say how wide, and how hard a crystal is says for which wider.

Normalised conformal prediction (Papadopoulos and Haralambous, Neural Networks 24, 842 (2011)), by the library crepes,
which takes the errors that we have. MAPIE would fit the learners again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from crepes import ConformalRegressor
from sklearn.linear_model import Ridge

_WIDEST = 4.0
"""Ratio of the widest and narrowest interval to the middle one, crystals unlike all labelled ones aside."""
_ONE_DEVIATION = 0.6827


@dataclass(frozen=True, eq=False)
class Difficulty:
    """How large errors are to be expected, from what is known before the label is.

    Errors grow with what learners differ by, with the distance to labelled crystals, and with how far a prediction is
    from the middle of the labels; by how much, errors out of fold say. None of them can make an interval narrower as it
    grows.

    Attributes:
        coefficients: Powers of the three, ``(3,)``.
        floors: What is added to each so that nothing is infinitely easy, ``(3,)``.
        middle: The middle of the labels.
        level: The middle of the expected errors.
        usual: Distance beyond which a crystal is unlike all labelled ones (see ``Neighbourhood``).
    """

    coefficients: np.ndarray
    floors: np.ndarray
    middle: float
    level: float
    usual: float

    @classmethod
    def fit(
        cls, errors: np.ndarray, values: np.ndarray, spread: np.ndarray, distances: np.ndarray, usual: float
    ) -> Self:
        """Learn it from absolute errors of crystals, ``(n,)`` like all else, by ridge regression of logarithms."""
        middle = float(np.median(values))
        raw = np.stack([spread, np.minimum(distances, usual), np.abs(values - middle)], 1)
        floors = np.maximum(0.2 * raw.mean(0), 1e-12)
        logs = np.log(raw + floors)
        errors = np.log(errors + max(0.1 * float(np.median(errors)), 1e-12))
        scale = np.maximum(logs.std(0), 1e-9)
        fitted = Ridge(alpha=0.05 * len(errors), positive=True).fit(logs / scale, errors)
        coefficients = fitted.coef_ / scale
        return cls(coefficients, floors, middle, float(np.median(logs @ coefficients)), usual)

    def __call__(self, values: np.ndarray, spread: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Relative size of the expected error, ``(n,)``; 1 is the middle of the labelled crystals.

        Beyond the usual distance it grows in proportion, as nothing is known of errors there.
        """
        raw = np.stack([spread, np.minimum(distances, self.usual), np.abs(values - self.middle)], 1)
        inside = np.exp(np.log(raw + self.floors) @ self.coefficients - self.level)
        beyond = np.clip(distances / self.usual, 1, 10)
        return np.asarray(np.clip(inside, 1 / _WIDEST, _WIDEST) * beyond)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "coefficients": self.coefficients.tolist(), "floors": self.floors.tolist(), "middle": self.middle,
            "level": self.level, "usual": self.usual,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The reverse."""
        arrays = {name: np.array(content[name]) for name in ("coefficients", "floors")}
        return cls(**{**content, **arrays})


@dataclass(frozen=True, eq=False)
class Calibration:
    """Errors out of fold, and how large they were expected to be by what knew neither of them.

    Attributes:
        difficulty: Fitted to all errors.
        residuals: Label minus prediction, ``(n,)``.
        sigmas: The difficulty of each crystal, by errors of other folds, ``(n,)``.
        coverage: Share of crystals in the interval that other folds give them.
    """

    difficulty: Difficulty
    residuals: np.ndarray
    sigmas: np.ndarray
    coverage: float

    @classmethod
    def fit(
        cls, residuals: np.ndarray, values: np.ndarray, spread: np.ndarray, distances: np.ndarray, folds: np.ndarray,
        *, usual: float, confidence: float,
    ) -> Self:  # fmt: skip
        """Calibrate.

        Args:
            residuals: Label minus out-of-fold prediction, ``(n,)``.
            values: The predictions.
            spread: How far learners are apart.
            distances: Distance to the nearest labelled crystal of another fold.
            folds: The fold of each.
            usual: See ``Neighbourhood``.
            confidence: Of the intervals whose coverage is measured.
        """
        known = values, spread, distances
        sigmas = np.ones(len(residuals))
        for fold in np.unique(folds):
            inside = folds == fold
            seen, asked = [each[~inside] for each in known], [each[inside] for each in known]
            sigmas[inside] = Difficulty.fit(np.abs(residuals[~inside]), seen[0], seen[1], seen[2], usual)(*asked)
        difficulty = Difficulty.fit(np.abs(residuals), *known, usual)
        covered = np.abs(residuals) <= out_of_fold_halves(residuals, sigmas, folds, confidence)
        return cls(difficulty, residuals, sigmas, float(covered.mean()))

    def half_widths(
        self, values: np.ndarray, spread: np.ndarray, distances: np.ndarray, confidence: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Half of the interval, and a standard deviation (half of the interval of 68 %), each ``(n,)``."""
        sigmas = self.difficulty(values, spread, distances)
        return tuple(half_widths(self.residuals, self.sigmas, sigmas, c) for c in (confidence, _ONE_DEVIATION))  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "difficulty": self.difficulty.to_dict(), "residuals": self.residuals.tolist(),
            "sigmas": self.sigmas.tolist(), "coverage": self.coverage,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The reverse."""
        arrays = {name: np.array(content[name]) for name in ("residuals", "sigmas")}
        return cls(Difficulty.from_dict(content["difficulty"]), **arrays, coverage=content["coverage"])


def out_of_fold_halves(residuals: np.ndarray, sigmas: np.ndarray, folds: np.ndarray, confidence: float) -> np.ndarray:
    """Half of the interval of each labelled crystal, by errors of other folds; all are ``(n,)``."""
    halves = np.zeros(len(residuals))
    for fold in np.unique(folds):
        inside = folds == fold
        halves[inside] = half_widths(residuals[~inside], sigmas[~inside], sigmas[inside], confidence)
    return halves


def half_widths(residuals: np.ndarray, sigmas: np.ndarray, asked: np.ndarray, confidence: float) -> np.ndarray:
    """Half of each interval, ``(m,)``.

    Args:
        residuals: Errors of labelled crystals, ``(n,)``.
        sigmas: How hard these were, ``(n,)``.
        asked: How hard the others are, ``(m,)``.
        confidence: Share of crystals that the intervals must cover; where labels are too few for it, the
            largest error counts.
    """
    confidence = min(confidence, len(residuals) / (len(residuals) + 1))
    fitted = ConformalRegressor().fit(residuals, sigmas=sigmas)
    return np.asarray(fitted.predict_int(np.zeros(len(asked)), sigmas=asked, confidence=confidence)[:, 1])
