"""The median of the labels, or the share of each class: what is known a constant has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from .estimators import EstimatorMember
from .member import Lesson


@dataclass(frozen=True)
class Median(EstimatorMember):
    """The median; where squared errors count, the mean."""

    kind: ClassVar[str] = "median"
    transforms: ClassVar[bool] = False

    strategy: str = "median"

    def estimator(self, lesson: Lesson) -> Any:
        """Scikit-learn's."""
        constant = DummyClassifier() if lesson.n_classes else DummyRegressor(strategy=self.strategy)
        return Pipeline([("model", constant)])
