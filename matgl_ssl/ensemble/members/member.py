"""What a learner is: it is fitted to labels, says something of other crystals, and can be kept as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matgl_ssl.ensemble.inputs import Inputs


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a learner is fitted to.

    Attributes:
        inputs: The crystals.
        labels: Their labels, transformed, or the numbers of their classes, ``(n,)``.
        weights: How much each label counts, ``(n,)``; None if all count the same.
        groups: The reduced formula of each.
        n_classes: Number of classes; 0 for a number.
        seed: Seed of whatever is random.
    """

    inputs: Inputs
    labels: np.ndarray
    weights: np.ndarray | None
    groups: np.ndarray
    n_classes: int
    seed: int


class Fitted(ABC):
    """A fitted learner."""

    @abstractmethod
    def predict(self, inputs: Inputs) -> np.ndarray:
        """What it says of crystals.

        Returns:
            Shape ``(n, centres, 1)`` for a number, in the unit that was learned, and ``(n, 1, classes)`` for classes,
            where it is their probabilities. NaN for crystals that it cannot be given.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into an empty folder."""


@dataclass(frozen=True)
class Member(ABC):
    """A learner before it is fitted. Its fields say all that its results depend on, besides the labels.

    Attributes:
        name: What reports call it.
    """

    kind: ClassVar[str]
    centres: ClassVar[tuple[str, ...]] = ("mean",)
    """What it can say of the labels that it finds likely: their mean, their median."""
    transforms: ClassVar[bool] = True
    """Whether other transformations of the labels are worth a try."""
    bagged: ClassVar[bool] = False
    """Whether the models of the folds are kept and averaged; others are fitted to all labels at the end."""

    name: str

    @abstractmethod
    def fit(self, lesson: Lesson) -> Fitted:
        """Learn.

        Raises:
            MatGLSSLError: If it cannot learn from these crystals or labels.
        """

    @abstractmethod
    def load(self, folder: Path, n_classes: int) -> Fitted:
        """Read what ``Fitted.save`` wrote.

        Raises:
            ModelError: If that is something else.
        """

    def depends_on(self) -> dict[str, Any]:
        """What its results depend on, besides its fields."""
        return {}
