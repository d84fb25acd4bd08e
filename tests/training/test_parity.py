"""Scores and the parity plot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matgl_ssl.training.parity import parity_plot, scores


def test_scores_are_what_their_names_say():
    found = scores(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 3.0, 3.0, 4.0]))
    assert found == pytest.approx({"mae": 0.75, "rmse": math.sqrt(5 / 4), "r2": 1 - 5 / 14, "mad": 1.5, "n": 4})


def test_perfect_predictions_and_those_of_the_mean():
    labels = np.array([1.0, 2.0, 6.0])
    assert scores(labels, labels)["r2"] == 1.0
    mean = scores(labels, np.full(3, labels.mean()))
    assert mean["r2"] == pytest.approx(0.0)
    assert mean["mae"] == mean["mad"]


def test_equal_labels_have_no_r2():
    assert math.isnan(scores(np.array([2.0]), np.array([2.5]))["r2"])


def test_the_plot_is_a_png_without_a_display(tmp_path):
    labels = np.array([1.0, 2.0, 3.0])
    path = tmp_path / "figures" / "parity.png"
    parity_plot(path, {"train": (labels, labels), "test": (labels[:1], labels[:1] + 1)}, "gap (eV)")
    assert path.read_bytes().startswith(b"\x89PNG")
