"""Transformations of labels and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_ssl.ensemble.transforms import Transform, possible

POSITIVE = np.random.default_rng(0).lognormal(2, 2, 80)


@pytest.mark.parametrize("name", ["none", "log", "yeo-johnson", "quantiles", "bounded"])
def test_there_and_back(name):
    bounds = (0.0, 1e5)
    transform = Transform.fit(name, POSITIVE, bounds)
    seen = np.sort(POSITIVE)[5:-5] if name != "bounded" else POSITIVE[(POSITIVE > 600) & (POSITIVE < 9e4)]
    np.testing.assert_allclose(transform.back(transform(seen)), seen, rtol=1e-5)
    assert transform.back(transform(POSITIVE)[:, None]).shape == (80, 1)


def test_labels_over_decades_become_even():
    assert abs(np.mean(POSITIVE) / np.median(POSITIVE)) > 3
    learned = Transform.fit("log", POSITIVE)(POSITIVE)
    assert abs(np.mean(learned) - np.median(learned)) < 0.3 * np.std(learned)


@pytest.mark.parametrize("name", ["log", "yeo-johnson", "quantiles"])
def test_what_lies_far_outside_is_not_taken_back_to_nonsense(name):
    transform = Transform.fit(name, POSITIVE)
    back = transform.back(np.array([-1e3, 1e3, np.nan]))
    assert np.isfinite(back[:2]).all()
    assert back[1] < 20 * POSITIVE.max()
    assert np.isnan(back[2])


def test_a_power_is_taken_back_where_its_inverse_ends():
    labels = np.random.default_rng(0).pareto(1.0, 60)
    for each in (labels, -labels):
        transform = Transform.fit("yeo-johnson", each)
        back = transform.back(np.linspace(-30, 30, 200))
        assert np.isfinite(back).all()
        assert (np.diff(back) >= -1e-9).all()


def test_what_labels_allow():
    assert possible(POSITIVE) == ("none", "log", "yeo-johnson", "quantiles")
    assert "log" not in possible(POSITIVE - 1)
    assert "bounded" in possible(np.linspace(0.1, 0.9, 30), (0.0, 1.0))
    assert possible(np.array([0.0, 1.0] * 20)) == ("none",)


def test_a_bounded_target_stays_between_its_bounds():
    labels = np.random.default_rng(1).beta(0.5, 0.5, 60)
    back = Transform.fit("bounded", labels, (0.0, 1.0)).back(np.array([-50.0, 50.0]))
    assert 0 <= back[0] < 0.1
    assert 0.9 < back[1] <= 1
