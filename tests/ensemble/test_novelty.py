"""Crystals unlike the labelled ones are told from those that are like them."""

from __future__ import annotations

import numpy as np

from matgl_ssl.ensemble.novelty import Neighbourhood

RNG = np.random.default_rng(0)
NUMBERS = np.concatenate([RNG.normal(size=(60, 5)) * [1, 10, 100, 1e-3, 1], np.full((60, 1), 7.0)], 1)
ELEMENTS = [np.array([11, 17]), np.array([12, 8])] * 30


def test_distances_are_seen_from_other_folds_and_flags_are_for_strangers():
    folds = np.arange(60) % 5
    neighbourhood, distances = Neighbourhood.of(NUMBERS, ELEMENTS, folds)
    assert distances.min() > 0
    np.testing.assert_allclose(neighbourhood.distances(NUMBERS), 0, atol=1e-6)
    assert 0.9 <= np.mean(distances <= neighbourhood.usual) <= 1.0
    stranger = NUMBERS[:1] + np.array([[20, 0, 0, 0, 0, 0]])
    (far,) = neighbourhood.distances(stranger)
    assert far > 3 * neighbourhood.usual
    assert neighbourhood.flag(far, np.array([11, 17])) == "unlike every labelled crystal"
    assert neighbourhood.flag(0.0, np.array([11, 17, 92])) == "no labelled crystal has U"
    assert neighbourhood.flag(0.0, np.array([8, 11])) == ""


def test_numbers_that_are_missing_or_never_differ_do_no_harm():
    holes = NUMBERS.copy()
    holes[::7, 2] = np.nan
    holes[:, 4] = np.nan
    neighbourhood, distances = Neighbourhood.of(holes, ELEMENTS, np.arange(60) % 5)
    assert np.isfinite(distances).all()
    other = holes[:2].copy()
    other[0, 5] = 8.0  # all labelled crystals have 7
    other[1] = np.nan
    assert np.isfinite(neighbourhood.distances(other[:1])).all()
    assert np.isinf(neighbourhood.distances(other)[1])
    again = Neighbourhood.from_dict(neighbourhood.to_dict(), neighbourhood.points)
    np.testing.assert_array_equal(again.distances(NUMBERS), neighbourhood.distances(NUMBERS))
