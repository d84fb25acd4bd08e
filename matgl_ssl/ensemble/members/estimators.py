"""Scikit-learn's estimators as members, kept without pickles."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import skops.io
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from matgl_ssl.ensemble.inputs import Inputs
from matgl_ssl.errors import DataError, ModelError

from .member import Fitted, Lesson, Member

FILE = "estimator.skops"
_TRUSTED = (
    "matgl_ssl.ensemble.members.line._one",
    "numpy.clip",
    "numpy.dtype",
    "quantile_forest._quantile_forest.ExtraTreesQuantileRegressor",
    "quantile_forest._quantile_forest_fast.QuantileForest",
    "sklearn.compose._target.TransformedTargetRegressor",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.tree._tree.Tree",
)
"""Types that a file may hold beside those that skops trusts by itself: classes and functions without side effects."""
_PACKAGES = ("scikit-learn", "quantile-forest")

Numbers = Literal["descriptors", "more descriptors", "estimates", "vectors", "vectors and descriptors"]


@dataclass(frozen=True)
class EstimatorMember(Member):
    """One of scikit-learn's estimators on numbers of crystals.

    Attributes:
        numbers: Which numbers.
        encoder: Name of the encoder that gives the vectors.
        weights: Hash of that encoder.
    """

    weighs: ClassVar[bool] = True
    """Whether the estimator's ``fit`` takes weights of labels."""

    numbers: Numbers = "descriptors"
    encoder: str = ""
    weights: str = ""

    def estimator(self, lesson: Lesson) -> Any:
        """What is fitted."""
        raise NotImplementedError

    def said(self, estimator: Any, numbers: np.ndarray) -> np.ndarray:
        """What a fitted estimator says, ``(n, centres)``."""
        return np.asarray(estimator.predict(numbers)).reshape(len(numbers), 1)

    def depends_on(self) -> dict[str, Any]:
        """Versions of the libraries."""
        return {name: version(name) for name in _PACKAGES}

    def of(self, inputs: Inputs) -> np.ndarray:
        """Numbers of crystals, ``(n, d)``."""
        if self.numbers == "descriptors":
            return inputs.descriptors
        if self.numbers == "more descriptors":
            return inputs.more_descriptors
        if self.numbers == "estimates":
            return inputs.estimates
        vectors = inputs.vectors(self.encoder)
        return vectors if self.numbers == "vectors" else np.concatenate([vectors, inputs.descriptors], 1)

    def usable(self, inputs: Inputs) -> np.ndarray:
        """Which crystals it can be given, ``(n,)``."""
        return np.isfinite(inputs.vectors(self.encoder)).all(1) if self.encoder else np.ones(len(inputs), dtype=bool)

    def fit(self, lesson: Lesson) -> Fitted:
        """Learn."""
        rows = np.flatnonzero(self.usable(lesson.inputs))
        if len(rows) < 2:
            raise DataError(f"{self.name}: the encoder can be given none of the labelled crystals.")
        estimator = self.estimator(lesson)
        unweighted = lesson.weights is None or not self.weighs
        weights = {} if unweighted else {_weights_of(estimator): np.asarray(lesson.weights)[rows]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = estimator.fit(self.of(lesson.inputs)[rows], lesson.labels[rows], **weights)
        return FittedEstimator(
            self, fitted.best_estimator_ if isinstance(fitted, GridSearchCV) else fitted, lesson.n_classes
        )

    def load(self, folder: Path, n_classes: int) -> Fitted:
        """Read an estimator, if all that is in the file is known and harmless."""
        file = folder / FILE
        try:
            others = sorted({*skops.io.get_untrusted_types(file=file)} - {*_TRUSTED})
            if others:
                raise ModelError(f"{file} holds types that no file of matgl_ssl holds: {', '.join(others[:3])}.")
            estimator = skops.io.load(file, trusted=list(_TRUSTED))
        except ModelError:
            raise
        except Exception as err:  # a damaged archive fails in many ways
            raise ModelError(f"{file} cannot be read ({err}). Fit again, or put the file back as it was.") from err
        return FittedEstimator(self, estimator, n_classes)


@dataclass(frozen=True, eq=False)
class FittedEstimator(Fitted):
    """A fitted estimator.

    Attributes:
        member: What it was.
        estimator: Scikit-learn's.
        n_classes: Number of classes; 0 for a number.
    """

    member: EstimatorMember
    estimator: Any
    n_classes: int = 0

    def predict(self, inputs: Inputs) -> np.ndarray:
        """See ``Fitted``."""
        rows = np.flatnonzero(self.member.usable(inputs))
        centres = 1 if self.n_classes else len(self.member.centres)
        found = np.full((len(inputs), centres, max(self.n_classes, 1)), np.nan)
        if not len(rows):
            return found
        numbers = self.member.of(inputs)[rows]
        if not self.n_classes:
            found[rows, :, 0] = self.member.said(self.estimator, numbers)
            return found
        chances = np.zeros((len(rows), self.n_classes))  # a class that no training label had is taken to be impossible
        chances[:, self.estimator.classes_.astype(int)] = self.estimator.predict_proba(numbers)
        found[rows, 0] = chances
        return found

    def save(self, folder: Path) -> None:
        """Write a zip of JSON and arrays."""
        skops.io.dump(self.estimator, folder / FILE)


def _weights_of(estimator: Any) -> str:
    """The keyword of ``fit`` that takes the weights of labels."""
    inner: Any = estimator.estimator if isinstance(estimator, GridSearchCV) else estimator
    return f"{inner.steps[-1][0]}__sample_weight"
