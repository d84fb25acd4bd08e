"""The labelled crystals of a fit as its HTML report shows them."""

from __future__ import annotations

import numpy as np

from matgl_ssl.reporting import ON_MAP, Kept, sample

from .calibrate import Calibration, out_of_fold_halves
from .combination import Combination
from .learning import Learning

_CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def shown(learning: Learning, combination: Combination) -> Kept:
    """Labels, predictions and intervals out of fold, and the numbers that distances are measured in."""
    labelled, said = learning.labelled, combination.out_of_fold
    columns = {"label": labelled.labels, "prediction": said.argmax(1) if labelled.classes else said[:, 0]}
    if (known := combination.calibration) is not None:
        half = out_of_fold_halves(known.residuals, known.sigmas, learning.folds, learning.config.coverage)
        columns |= {"lower": said[:, 0] - half, "upper": said[:, 0] + half}
    rows = sample(len(labelled), ON_MAP)
    vectors = combination.neighbourhood.points[rows]
    return Kept(labelled.crystals, "out of fold", labelled.name, columns, vectors, rows)


def reliability(calibration: Calibration | None, folds: np.ndarray) -> list[tuple[float, float]]:
    """The share of labels in their interval, by errors of other folds, for several shares that were asked for."""
    if calibration is None:
        return []
    errors = np.abs(calibration.residuals)
    halves = [out_of_fold_halves(calibration.residuals, calibration.sigmas, folds, each) for each in _CONFIDENCES]
    return [(asked, float((errors <= half).mean())) for asked, half in zip(_CONFIDENCES, halves, strict=True)]
