"""A straight line along one number of a crystal: what a single textbook estimate says of the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.stats import spearmanr
from sklearn.impute import SimpleImputer
from sklearn.linear_model import QuantileRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from matgl_ssl.targets.descriptors import Estimates

from .estimators import EstimatorMember, Numbers
from .member import Lesson


def line(seed: int, columns: Sequence[int] | None = None) -> GridSearchCV:
    """A straight line along one of the numbers, of least absolute error; which one, cross-validation says.

    Args:
        seed: Not looked at.
        columns: Which of the estimates come into question; all by default.
    """
    columns = range(Estimates().size) if columns is None else columns
    return GridSearchCV(
        Pipeline(
            [
                ("imputer", SimpleImputer(strategy="median", keep_empty_features=True)),
                ("one", FunctionTransformer(_one)),
                ("line", QuantileRegressor(quantile=0.5, alpha=0.0)),
            ]
        ),
        {"one__kw_args": [{"column": column} for column in columns]},
        scoring="neg_mean_absolute_error",
        cv=5,
    )


def _one(numbers: np.ndarray, column: int) -> np.ndarray:
    return numbers[:, [column]]


@dataclass(frozen=True)
class Line(EstimatorMember):
    """The line; there is none for classes."""

    kind: ClassVar[str] = "line"

    numbers: Numbers = "estimates"

    def estimator(self, lesson: Lesson) -> Any:
        """The search for the number, among those that order the crystals most as the labels do."""
        numbers = SimpleImputer(strategy="median", keep_empty_features=True).fit_transform(self.of(lesson.inputs))
        order = np.abs(np.nan_to_num([spearmanr(column, lesson.labels).statistic for column in numbers.T]))
        return line(lesson.seed, np.argsort(-order, kind="stable")[:_TRIED].tolist())


_TRIED = 3
