"""Where predictions come from, where the truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ensemble.conftest import table

import matgl_ssl
from matgl_ssl import explain, fit
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.ensemble.explain import QUANTITIES, _shapley_weights
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.targets import AtomStatistics, Descriptors, Estimates, Slab, VibrationalSpectrum


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A label that is the mean frequency of Gordy's springs."""
    estimates = Estimates()
    crystals = [c for c in table(90, lambda *_: 0.0) if np.isfinite(estimates(c)).all()]
    frequency = np.array([estimates(c)[8] for c in crystals])
    data = CrystalDataset.from_crystals(
        [
            dataclasses.replace(c, id=f"c{i}", labels={"target": float(f)})
            for i, (c, f) in enumerate(zip(crystals, frequency, strict=True))
        ]
    )
    out = tmp_path_factory.mktemp("explained") / "fit"
    fit(data=data, target="target", unit="1/cm", out=out, encoders=[], fine_tunings=0, n_folds=2, budget=60)
    return out, data


def test_quantities_cover_every_number_once():
    columns = {
        "descriptors": Descriptors().size, "estimates": Estimates().size, "atoms": AtomStatistics().size,
        "vibrations": VibrationalSpectrum.size, "slab": Slab.size,
    }  # fmt: skip
    for column, size in columns.items():
        covered = [n for parts in QUANTITIES.values() if column in parts for n in range(*parts[column].indices(size))]
        assert sorted(covered) == list(range(size)), column


def test_values_are_shapleys_in_a_game_worked_out_by_hand():
    """Gloves: player 1 has a left one, players 2 and 3 right ones; a pair is worth 1. The values are 2/3, 1/6, 1/6."""
    known = np.array([[bool(n >> k & 1) for k in range(3)] for n in range(8)])
    worth = known[:, 0] & (known[:, 1] | known[:, 2])
    assert worth @ _shapley_weights(known) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_a_label_that_is_a_frequency_comes_from_vibrations(fitted):
    out, data = fitted
    found = explain(model=out, data=data)
    assert [each.id for each in found] == data.ids
    for each in found:
        assert sum(each.parts.values()) == pytest.approx(each.value - each.average)
    sizes = {name: np.mean([abs(each.parts[name]) for each in found]) for name in QUANTITIES}
    assert max(sizes, key=sizes.get) == "vibrations"
    assert sizes["vibrations"] > 0.5 * sum(sizes.values())
    report = (out / "report.md").read_text()
    assert report.index("| vibrations |") < report.index("| composition |")
    assert "for an average crystal" in str(found[0])


def test_together_they_are_what_is_predicted(fitted):
    out, data = fitted
    found = explain(model=out, data=data)
    assert found[0].share == pytest.approx(1.0)  # no encoder
    said = matgl_ssl.predict(model=out, data=data)
    np.testing.assert_allclose([e.value for e in found], [p.value for p in said], rtol=1e-6)


def test_what_cannot_be_explained_is_refused(fitted, tmp_path):
    with pytest.raises(ModelError, match="not a directory that mgl-ssl fit wrote"):
        explain(model=tmp_path, data=fitted[1])
    classes = table(30, lambda metal, anion, a: "small" if a < 3.8 else "large")
    fit(data=classes, target="target", task="classification", out=tmp_path / "fit", encoders=[], n_folds=2)
    with pytest.raises(ConfigError, match="only numbers can be explained"):
        explain(model=tmp_path / "fit", data=classes)
