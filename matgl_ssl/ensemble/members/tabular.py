"""Trees and kernels on descriptors and textbook estimates, without a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from quantile_forest import ExtraTreesQuantileRegressor
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from matgl_ssl.ensemble.folds import balanced_folds
from matgl_ssl.ensemble.kernels import best_kernel_ridge

from .estimators import EstimatorMember
from .member import Lesson

_TREES = 300


@dataclass(frozen=True)
class Trees(EstimatorMember):
    """Extremely randomised trees (Geurts et al., 2006).

    They say the mean of the labels in the leaves that a crystal falls into, or their median (quantile regression
    forests, Meinshausen, JMLR 7, 983 (2006)).
    """

    kind: ClassVar[str] = "trees"
    centres: ClassVar[tuple[str, ...]] = ("mean", "median")

    def estimator(self, lesson: Lesson) -> Any:
        """All numbers are looked at in each split; a missing one is taken to be the mean."""
        if lesson.n_classes:
            model = ExtraTreesClassifier(_TREES, min_samples_leaf=2, random_state=lesson.seed, n_jobs=1)
        else:
            model = ExtraTreesQuantileRegressor(_TREES, max_samples_leaf=None, random_state=lesson.seed, n_jobs=1)
        return Pipeline([("imputer", SimpleImputer(keep_empty_features=True)), ("model", model)])

    def said(self, estimator: Any, numbers: np.ndarray) -> np.ndarray:
        """Mean and median."""
        return np.stack([estimator.predict(numbers, quantiles=centre) for centre in ("mean", 0.5)], 1)


@dataclass(frozen=True)
class Kernels(EstimatorMember):
    """A kernel ridge; for classes, a logistic regression. Penalties are chosen on folds that part formulas."""

    kind: ClassVar[str] = "kernels"

    def estimator(self, lesson: Lesson) -> Any:
        """A search over penalties, and widths of the kernel."""
        rows = np.flatnonzero(self.usable(lesson.inputs))
        groups, labels = lesson.groups[rows], lesson.labels[rows]
        number = balanced_folds(groups, labels, 5, lesson.seed)
        folds = [(np.flatnonzero(number != fold), np.flatnonzero(number == fold)) for fold in range(number.max() + 1)]
        imputer = ("imputer", SimpleImputer(keep_empty_features=True))
        if lesson.n_classes:
            steps = [imputer, ("scaler", StandardScaler()), ("model", LogisticRegression(max_iter=2000))]
            penalties = {"model__C": [float(c) for c in np.logspace(-4, 1, 6)]}
            return GridSearchCV(Pipeline(steps), penalties, scoring="neg_log_loss", cv=folds)
        steps = [imputer, ("scaler", StandardScaler())]
        numbers = Pipeline(steps).fit_transform(self.of(lesson.inputs)[rows])
        weights = None if lesson.weights is None else lesson.weights[rows]
        return Pipeline([*steps, ("model", best_kernel_ridge(numbers, labels, folds, weights))])
