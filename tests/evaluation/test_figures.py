"""Figures of a study: lines that are few are labelled where they end, and names do not overlap."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.figure import Figure
from PIL import Image

from matgl_ssl.evaluation.figures import FEW, label_ends, learning_curves
from matgl_ssl.evaluation.statistics import Score


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("ends", [(0.2, 0.5, 0.9), (0.9, 0.91, 0.92), (0.11, 0.1, 0.12)])
def test_names_are_near_the_ends_in_their_order(ends, scale):
    panel = Figure(figsize=(4, 3)).subplots()
    panel.set(xlim=(0, 1), ylim=(0.1, 1), yscale=scale)
    names = dict(zip("abc", ends, strict=True))
    label_ends(panel, names, dict.fromkeys(names, "black"))
    places = {text.get_text(): text.get_position()[1] for text in panel.texts}
    assert sorted(places, key=places.get) == sorted(names, key=names.get)
    heights = sorted(places.values())
    gap = 12 / (3 * 72 * panel.get_position().height)
    assert all(high - low >= gap - 1e-9 for low, high in itertools.pairwise(heights))
    assert heights[0] >= 0
    assert heights[-1] <= 1
    if ends == (0.2, 0.5, 0.9) and scale == "linear":
        assert list(places.values()) == pytest.approx([(end - 0.1) / 0.9 for end in ends])


@pytest.mark.parametrize("n_arms", [FEW, FEW + 1])
def test_more_than_a_few_lines_have_a_legend(n_arms, tmp_path, monkeypatch):
    legends = []
    monkeypatch.setattr(Figure, "legend", lambda self, *names, **_: legends.append(names))
    scores = [
        Score("t", "MEGNet", f"arm{arm}", n, seed, 0, arm + 1 / n + 0.1 * seed, "")
        for arm in range(n_arms) for n in (100, 500) for seed in range(3)
    ]  # fmt: skip
    learning_curves(tmp_path / "figure.png", scores, {"t": "eV"}, "test")
    assert bool(legends) == (n_arms > FEW)
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width > 300
