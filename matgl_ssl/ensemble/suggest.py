"""``suggest``: which crystals to label next, so that each label says something new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.acceleration import using
from matgl_ssl.boundary import verb
from matgl_ssl.errors import ConfigError

from .predict import rows_of, with_inputs
from .predictor import Said, TargetPredictor


@dataclass(frozen=True)
class Suggestion:
    """A crystal to be labelled.

    Attributes:
        id: Name of the crystal.
        rank: Its place in the order, from 1.
        uncertainty: The error to be expected, as a multiple of that of the middle labelled crystal; of classes the
            share of the largest possible entropy.
        novelty: Distance to the nearest crystal that is labelled or suggested before it; above 1 it is unlike all.
        prediction: What is predicted of it now.
    """

    id: str
    rank: int
    uncertainty: float
    novelty: float
    prediction: str

    def __str__(self) -> str:
        return f"{self.rank:>4}  {self.prediction}  [uncertainty {self.uncertainty:.2f}, novelty {self.novelty:.2f}]"


@verb
@using
def suggest(*, model: str | Path, data: Any, n: int = 10) -> list[Suggestion]:
    """Choose crystals to label next.

    One after the other, it takes the crystal for which the product of two numbers is largest: the error that is to be
    expected, and the distance to the nearest crystal that is labelled or chosen already. So it takes no two crystals
    that would tell the same.

    Args:
        model: A directory that ``fit`` left. Of several targets, the mean of their uncertainties counts.
        data: Crystals without labels to choose from (see ``read_crystals``). Bad ones are left out.
        n: How many.

    Returns:
        The crystals, the most telling first.

    Raises:
        ModelError: If ``model`` is no directory of a fit.
        ConfigError: If ``n`` is not positive.
        DataError: If there is nothing to choose from.
    """
    if n < 1:
        raise ConfigError(f"-n {n}: ask for one crystal at least.")
    predictor, crystals, inputs = with_inputs(model, data)
    said = [target(inputs) for target in predictor.targets]
    uncertainty = np.mean([_uncertainty(t, s) for t, s in zip(predictor.targets, said, strict=True)], 0)
    first = predictor.targets[0]
    chosen = _spread_out(uncertainty, first, first.numbers(inputs), n)
    predictions = rows_of(first, said[0], crystals.select([row for row, _ in chosen]), [row for row, _ in chosen])
    return [
        Suggestion(prediction.id, rank, float(uncertainty[row]), novelty, str(prediction))
        for rank, ((row, novelty), prediction) in enumerate(zip(chosen, predictions, strict=True), 1)
    ]


def _uncertainty(target: TargetPredictor, said: Said) -> np.ndarray:
    """The error to be expected, ``(n,)``; what nothing is known of counts as the least known crystal."""
    if target.classes:
        chances = np.clip(said.values, 1e-12, 1)
        found = -(chances * np.log(chances)).sum(1) / np.log(len(target.classes))
    else:
        found = said.std / target.usual_error
    return np.where(np.isfinite(found), found, np.nanmax(found, initial=1.0))


def _spread_out(
    uncertainty: np.ndarray, target: TargetPredictor, numbers: np.ndarray, n: int
) -> list[tuple[int, float]]:
    """Rows in the order in which they are chosen, and how far each was from those before it."""
    neighbourhood = target.neighbourhood
    points = neighbourhood.standardised(numbers)
    nearest = np.minimum(neighbourhood.distances(numbers), 10 * neighbourhood.usual) / neighbourhood.usual
    left = np.ones(len(points), dtype=bool)
    chosen: list[tuple[int, float]] = []
    for _ in range(min(n, len(points))):
        score = np.where(left, uncertainty * nearest, -1.0)
        row = int(np.argmax(score))
        chosen.append((row, float(nearest[row])))
        left[row] = False
        nearest = np.minimum(nearest, np.linalg.norm(points - points[row], axis=1) / neighbourhood.usual)
    return chosen
