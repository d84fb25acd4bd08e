"""The members of a target brought together: weights, honest errors out of fold, intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibrate import Calibration
from .combine import combination_weights, combined, losses, spread
from .learning import Learned, Learning
from .novelty import Neighbourhood


@dataclass(frozen=True, eq=False)
class Combination:
    """What the members say together.

    Attributes:
        members: The members; the first one knows nothing of crystals.
        weights: How much each counts, ``(m,)``.
        out_of_fold: What they say of crystals of a fold with weights from the other folds, ``(n, k)``.
        error: Error of that.
        calibration: Where intervals come from; None for classes.
        neighbourhood: The labelled crystals.
        space: What distances are measured in: ``"descriptors"``, or an encoder's name.
    """

    members: tuple[Learned, ...]
    weights: np.ndarray
    out_of_fold: np.ndarray
    error: float
    calibration: Calibration | None
    neighbourhood: Neighbourhood
    space: str

    @property
    def best(self) -> Learned:
        """The member of least error out of fold."""
        return min(self.members, key=lambda member: member.error)


def combine(learning: Learning, members: tuple[Learned, ...]) -> Combination:
    """Bring members together; the first one knows nothing of crystals."""
    labelled, folds, loss = learning.labelled, learning.folds, learning.loss
    said = np.stack([member.out_of_fold for member in members])
    counts = labelled.weights if labelled.weights is not None else np.ones(len(labelled))

    def weights_of(rows: np.ndarray) -> np.ndarray:
        return combination_weights(
            said[:, rows], labelled.labels[rows], labelled.groups[rows], loss, counts=counts[rows],
            seed=learning.config.seed,
        )  # fmt: skip

    each = np.zeros(said.shape[:2])
    for fold in np.unique(folds):
        each[:, folds == fold] = weights_of(np.flatnonzero(folds != fold))[:, None]
    together = combined(said, each)
    error = float(np.average(losses(together, labelled.labels, loss), weights=counts))
    space = next(iter(learning.inputs.encoders), "descriptors")
    numbers = learning.inputs.descriptors if space == "descriptors" else learning.inputs.vectors(space)
    elements = [crystal.numbers for crystal in learning.inputs.crystals]
    neighbourhood, distances = Neighbourhood.of(numbers, elements, folds)
    calibration = None
    if not labelled.classes:
        values = together[:, 0]
        calibration = Calibration.fit(
            labelled.labels - values, values, spread(said, each), distances, folds, usual=neighbourhood.usual,
            confidence=learning.config.coverage,
        )  # fmt: skip
    return Combination(
        members, weights_of(np.arange(len(labelled))), together, error, calibration, neighbourhood, space
    )
