"""Gaussian processes on descriptors: kernels whose widths and noise the labels themselves make likely."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from .estimators import EstimatorMember
from .member import Lesson

_MANY = 500
"""Labels that the kernel is chosen by; its likelihood takes the cube of their number."""
_JITTER = 1e-10
_LEAST_SURE = 1e6
_FAR = 6.0
"""Deviations from the mean beyond which a descriptor is taken to be this far."""


@dataclass(frozen=True)
class GaussianProcess(EstimatorMember):
    """A smooth function of all descriptors, and a rougher one (Rasmussen and Williams, Gaussian Processes, 2006).

    Their amplitudes and widths, and the noise, are those of the largest marginal likelihood (chapter 5), which needs no
    folds. On a few hundred labels that is often better than a kernel ridge, whose penalties are chosen on fewer.
    """

    kind: ClassVar[str] = "gaussian-process"
    weighs: ClassVar[bool] = False  # the noise of a label says how much it counts

    def estimator(self, lesson: Lesson) -> Any:
        """The process with the kernel that the labels make likely, not yet fitted."""
        rows = np.flatnonzero(self.usable(lesson.inputs))
        numbers, labels = self.of(lesson.inputs)[rows], lesson.labels[rows]
        chosen = np.random.default_rng(lesson.seed).permutation(len(rows))[:_MANY]
        prepared = Pipeline(_prepare()).fit(numbers).transform(numbers[chosen])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # where a width does not matter, it grows to its bound
            likely = GaussianProcessRegressor(_kernel(numbers.shape[1]), normalize_y=True).fit(prepared, labels[chosen])
        noise = _JITTER if lesson.weights is None else _JITTER + _noise(likely.kernel_, lesson.weights[rows])
        model = GaussianProcessRegressor(likely.kernel_, alpha=noise, normalize_y=True, optimizer=None)
        return Pipeline([*_prepare(), ("model", model)])


def _noise(kernel: Kernel, weights: np.ndarray) -> np.ndarray:
    """Variance that labels have beyond the kernel's, ``(n,)``: a label of half the weight is twice as noisy."""
    level = float(np.exp(kernel.theta[-1]))  # of the white noise, which comes last
    return level * np.minimum(weights.max() / np.maximum(weights, 1e-12) - 1, _LEAST_SURE)


def _prepare() -> list[tuple[str, Any]]:
    return [
        ("imputer", SimpleImputer(keep_empty_features=True)),
        ("scaler", StandardScaler()),
        ("near", FunctionTransformer(np.clip, kw_args={"a_min": -_FAR, "a_max": _FAR})),
    ]


def _kernel(size: int) -> Kernel:
    width = float(np.sqrt(size))
    rough = Matern(width, (0.1, 1e3), nu=1.5)
    smooth = RBF(5 * width, (1, 1e4))
    noise = WhiteKernel(0.1, (1e-4, 1))
    return ConstantKernel(1.0) * rough + ConstantKernel(1.0) * smooth + noise
