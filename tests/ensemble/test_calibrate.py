"""Intervals cover what they say on exchangeable data, and are wider where errors are larger."""

from __future__ import annotations

import json

import numpy as np
import pytest

from matgl_ssl.ensemble.calibrate import Calibration, half_widths


def sample(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Errors whose size goes with the spread of learners, and with nothing else."""
    rng = np.random.default_rng(seed)
    values, spread, distances = rng.normal(size=n), rng.lognormal(0, 0.8, n), rng.uniform(0.5, 1.0, n)
    return spread * rng.normal(size=n), values, spread, distances


def calibrated(residuals, values, spread, distances, confidence=0.9):
    folds = np.arange(len(values)) % 5
    return Calibration.fit(residuals, values, spread, distances, folds, usual=1.0, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_the_stated_share_is_covered(confidence):
    """200 times 100 labelled crystals and 100 others: the mean is right within its binomial error."""
    covered = []
    for seed in range(200):
        residuals, *known = sample(200, seed)
        found = calibrated(residuals[:100], *(each[:100] for each in known), confidence=confidence)
        half, _ = found.half_widths(*(each[100:] for each in known), confidence)
        covered.append(np.mean(np.abs(residuals[100:]) <= half))
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert confidence - error - 0.01 <= np.mean(covered) <= confidence + error + 0.02


def test_they_are_sharper_than_one_width_for_all():
    residuals, *known = sample(600, 0)
    found = calibrated(residuals[:300], *(each[:300] for each in known))
    half, std = found.half_widths(*(each[300:] for each in known), 0.9)
    constant = half_widths(residuals[:300], np.ones(300), np.ones(300), 0.9)
    assert half.mean() < 0.9 * constant.mean()
    assert np.corrcoef(half, known[1][300:])[0, 1] > 0.8
    assert found.coverage == pytest.approx(0.9, abs=0.05)
    assert std.mean() < half.mean()


def test_where_difficulty_says_nothing_all_are_about_equally_wide():
    rng = np.random.default_rng(1)
    _, *known = sample(300, 99)
    found = calibrated(rng.normal(size=300), *known)
    half, _ = found.half_widths(*known, 0.9)
    assert half.std() < 0.25 * half.mean()


def test_no_interval_gets_narrower_with_distance_or_spread():
    residuals, *known = sample(100, 2)
    found = calibrated(residuals, *known)
    far = np.linspace(0.1, 8, 40)
    half, _ = found.half_widths(np.zeros(40), np.ones(40), far, 0.9)
    assert (np.diff(half) >= -1e-12).all()
    assert half[-1] > 4 * half[0]
    half, _ = found.half_widths(np.zeros(40), far, np.ones(40), 0.9)
    assert (np.diff(half) >= -1e-12).all()


def test_with_too_few_labels_for_a_share_the_largest_error_counts():
    residuals = np.arange(10.0)
    np.testing.assert_allclose(half_widths(residuals, np.ones(10), np.ones(1), 0.99), [9.0])


def test_it_is_kept_as_json():
    residuals, *known = sample(60, 3)
    found = calibrated(residuals, *known)
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    for one, other in zip(found.half_widths(*known, 0.9), again.half_widths(*known, 0.9), strict=True):
        np.testing.assert_array_equal(one, other)
