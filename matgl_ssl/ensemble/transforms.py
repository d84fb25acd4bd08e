"""What is learned instead of a label, and the way back: labels that spread over decades are learned as logarithms."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, QuantileTransformer

Name = Literal["none", "log", "yeo-johnson", "quantiles", "bounded"]

_BEYOND = 0.5
"""Deviations of the transformed labels beyond their extremes that a prediction may reach before it is taken back: what
is little there is much in the label's unit."""


@dataclass(frozen=True, eq=False)
class Transform:
    """A fitted transformation of labels.

    Attributes:
        name: Which.
        transformer: Scikit-learn's transformer, fitted; None for the labels themselves.
        limits: Least and largest transformed value that is taken back.
    """

    name: Name
    transformer: Any = None
    limits: tuple[float, float] = (-np.inf, np.inf)

    @classmethod
    def fit(cls, name: Name, labels: np.ndarray, bounds: tuple[float | None, float | None] = (None, None)) -> Self:
        """Fit a transformation to training labels, ``(n,)``.

        Args:
            name: Which (see ``possible``).
            labels: The labels.
            bounds: Between which the target is, for ``bounded``.
        """
        if name == "none":
            return cls(name)
        column = labels[:, None]
        transformer = _transformer(name, labels, bounds).fit(column)
        seen = transformer.transform(column)
        margin = _BEYOND * float(seen.std())
        least, most = float(seen.min()), float(seen.max())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a power may have no inverse there
            ends = transformer.inverse_transform(np.array([[least - margin], [most + margin]]))
        exists = np.isfinite(ends[:, 0])
        return cls(name, transformer, (least - margin * exists[0], most + margin * exists[1]))

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Transformed labels, ``(n,)``."""
        return labels if self.transformer is None else np.asarray(self.transformer.transform(labels[:, None])[:, 0])

    def back(self, values: np.ndarray) -> np.ndarray:
        """Labels of transformed values, of any shape; NaN stays NaN."""
        if self.transformer is None:
            return values
        column = np.clip(values, *self.limits).reshape(-1, 1)
        known = np.isfinite(column[:, 0])
        found = np.full(len(column), np.nan)
        if known.any():
            found[known] = self.transformer.inverse_transform(column[known])[:, 0]
        return found.reshape(values.shape)


def possible(labels: np.ndarray, bounds: tuple[float | None, float | None] = (None, None)) -> tuple[Name, ...]:
    """The transformations that labels allow, ``(n,)``: the logarithm of positive ones, ``bounded`` between two bounds.

    Labels that leave a power of theirs no spread, and those with few values, are learned as they are.
    """
    if len(np.unique(labels)) < _FEW:
        return ("none",)
    names: list[Name] = ["none", "yeo-johnson", "quantiles"]
    if labels.min() > 0:
        names.insert(1, "log")
    if None not in bounds:
        names.append("bounded")
    return tuple(names)


_FEW = 10


def _transformer(name: Name, labels: np.ndarray, bounds: tuple[float | None, float | None]) -> Any:
    if name == "log":
        # The offset keeps labels that are next to nothing from counting more than all others.
        offset = float(np.quantile(labels, 0.05))
        return FunctionTransformer(
            _log, _exp, kw_args={"offset": offset}, inv_kw_args={"offset": offset}, check_inverse=False
        )
    if name == "bounded":
        ends = {"low": bounds[0], "high": bounds[1]}
        return FunctionTransformer(_logit, _expit, kw_args=ends, inv_kw_args=ends, check_inverse=False)
    if name == "yeo-johnson":
        return PowerTransformer("yeo-johnson")
    return QuantileTransformer(n_quantiles=min(len(labels), 1000), output_distribution="normal", subsample=None)


def _log(labels: np.ndarray, offset: float) -> np.ndarray:
    return np.log(np.maximum(labels, 0) + offset)


def _exp(values: np.ndarray, offset: float) -> np.ndarray:
    return np.exp(values) - offset


def _logit(labels: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((labels - low) / (high - low), 0.005, 0.995)
    return np.log(share / (1 - share))


def _expit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + (high - low) / (1 + np.exp(-values))
