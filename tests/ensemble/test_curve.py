"""Learning curves, where the law is known."""

from __future__ import annotations

import numpy as np
import pytest

import matgl_ssl
from matgl_ssl.ensemble.curve import _curve

from .conftest import table


def test_a_power_law_is_found_and_never_rises():
    sizes = [20, 40, 80]
    np.testing.assert_allclose(_curve(sizes, 3 * np.array(sizes) ** -0.4, [160, 320]), 3 * np.array([160, 320]) ** -0.4)
    rising = _curve(sizes, np.array([1.0, 1.1, 1.2]), [160, 320])
    assert rising[0] == pytest.approx(rising[1])


def test_more_labels_err_less_and_as_the_curve_said(tmp_path):
    few, many = (table(n, lambda m, x, a: m * a, seed=1) for n in (60, 120))
    results = [
        matgl_ssl.fit(data=data, target="target", out=tmp_path / f"{len(data)}", encoders=[]) for data in (few, many)
    ]
    curve = results[0].targets["target"].curve
    assert [each.n_labels for each in curve] == [12, 19, 31, 48, 120, 240]
    assert [each.measured for each in curve] == [True] * 4 + [False] * 2
    assert all(each.low <= each.error <= each.high for each in curve)
    assert curve[4].error < results[0].targets["target"].error
    assert curve[4].low / 2 < results[1].targets["target"].error < curve[4].high * 2
    report = results[0].report.read_text()
    assert "How many labels" in report
    assert "| 240 |" in report


def test_too_few_labels_give_no_curve(tmp_path):
    result = matgl_ssl.fit(data=table(20, lambda m, x, a: a), target="target", out=tmp_path / "fit", encoders=[])
    assert result.targets["target"].curve == []
