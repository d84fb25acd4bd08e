"""What reports compute, against values worked out by hand."""

from __future__ import annotations

import json
import logging
import math
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic import cell

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.ensemble.calibrate import Calibration
from matgl_ssl.ensemble.shown import reliability
from matgl_ssl.errors import ConfigError, RunDirectoryError
from matgl_ssl.reporting import Kept, draw, keep_crystals, report, sample
from matgl_ssl.reporting.blocks import Section, Table, plain
from matgl_ssl.reporting.collapse import LIMITS, effective_rank, spectrum
from matgl_ssl.reporting.crystals import family, read_kept
from matgl_ssl.reporting.errors import by_element, held_out, worst
from matgl_ssl.reporting.fitted import _confusion, _needed
from matgl_ssl.reporting.page import as_script, page
from matgl_ssl.training.collapse import CollapseMonitor
from matgl_ssl.training.collapse import effective_rank as trained_rank

HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\">"


def crystals(**columns):
    rows = [cell(11, 17, 3.5), cell(12, 8, 3.0), cell(26, 8, 3.1), cell(26, 27, 2.8)]
    return Kept(CrystalDataset.from_crystals(rows), "test", "gap", {k: np.array(v) for k, v in columns.items()})


def test_the_limits_are_the_monitors():
    monitor = CollapseMonitor()
    assert {
        "collapse_std": monitor.min_std, "collapse_rank": monitor.min_rank, "collapse_structure": monitor.min_structure
    } == LIMITS  # fmt: skip


def test_the_rank_of_a_spectrum_is_worked_out_by_hand():
    axes = np.concatenate([np.eye(3), -np.eye(3)])  # three directions of equal width
    assert effective_rank(spectrum(axes)) == pytest.approx(3)
    assert effective_rank(spectrum(np.ones((4, 3)))) == 0
    assert trained_rank(torch.from_numpy(axes)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("symbols", "name"),
    [
        (["Na", "Cl"], "halides"), (["Fe", "O", "S"], "oxides"), (["Al", "Ni"], "metals and intermetallics"),
        (["Fe"], "elements"), (["Ti", "C"], "borides, carbides, silicides"), (["H", "Li"], "hydrides"),
    ],
)  # fmt: skip
def test_a_compound_is_named_by_its_most_electronegative_element(symbols, name):
    assert family(symbols) == name


def test_what_is_kept_is_read_again(tmp_path):
    kept = crystals(label=[1.0, 2.0, 3.0, 4.0], prediction=[1.5, 2.0, 2.0, 4.0])
    vectors = np.arange(6.0).reshape(2, 3)
    keep_crystals(tmp_path, [Kept(**{**vars(kept), "vectors": vectors, "with_vectors": np.array([1, 3])})])
    frame = read_kept(tmp_path)
    assert frame["formula"].tolist() == ["NaCl", "MgO", "FeO", "FeCo"]
    assert frame["elements"].tolist() == ["Na Cl", "O Mg", "O Fe", "Fe Co"]
    assert frame["crystal_system"].tolist() == ["", "cubic", "", "cubic"]
    np.testing.assert_array_equal(frame["vector"][3], [3, 4, 5])
    assert frame["vector"][0] is None
    assert frame["label"].tolist() == [1, 2, 3, 4]


def test_errors_by_element_are_means_over_the_crystals_that_hold_it():
    frame = crystals(label=[1.0, 2.0, 3.0, 4.0], prediction=[1.5, 2.0, 2.0, 4.2]).frame()
    heat = by_element(frame, "eV").data[0]
    found = {text.split("</b>")[0][3:]: value for row, texts in zip(heat["z"], heat["text"], strict=True)
             for value, text in zip(row, texts, strict=True) if value is not None}  # fmt: skip
    assert found == pytest.approx({"Na": 0.5, "Cl": 0.5, "Mg": 0.0, "O": 0.5, "Fe": 0.6, "Co": 0.2})
    assert heat["z"][2][0] == 0.5  # sodium: third row, first column
    assert worst(frame, "eV").rows[0][0] == "FeO"


def test_classes_are_counted_by_what_they_are_and_what_is_predicted():
    frame = pd.DataFrame({"label": [0.0, 0.0, 1.0, 2.0], "prediction": [0.0, 1.0, 1.0, 1.0]})
    heat = _confusion(frame, ["metal", "<b>semi</b>", "insulator"]).data[0]
    assert heat["z"] == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert heat["x"] == heat["y"] == ["metal", "&lt;b&gt;semi&lt;/b&gt;", "insulator"]


def test_held_out_crystals_are_the_tests():
    frame = pd.DataFrame({"part": ["train", "val", "test"], "x": [0, 1, 2]})
    assert held_out(frame)["x"].tolist() == [2]
    assert held_out(frame[:2])["x"].tolist() == [1]
    assert held_out(frame[:1])["x"].tolist() == [0]


def test_how_many_labels_halve_the_error_is_the_power_laws():
    later = pd.DataFrame({"n_labels": [200, 400], "error": [8.0, 8.0 / math.sqrt(2)]})  # error ~ labels ** -1/2
    target = {"labels": [0.0] * 100, "unit": "eV", "per_atom": False, "loss": "mae"}
    assert "about 400 labels" in _needed(target, later)
    flat = pd.DataFrame({"n_labels": [200, 400], "error": [8.0, 8.0]})
    assert "hardly help" in _needed(target, flat)


def test_intervals_of_a_share_cover_it():
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.5, 2, 500)
    residuals = rng.normal(size=500) * spread
    folds = np.arange(500) % 5
    known = Calibration.fit(
        residuals, rng.normal(size=500), spread, rng.uniform(size=500), folds, usual=1.0, confidence=0.9
    )
    found = dict(reliability(known, folds))
    assert found[0.9] == known.coverage
    assert all(abs(asked - covered) < 0.05 for asked, covered in found.items())
    assert reliability(None, folds) == []


def test_a_sample_is_always_the_same():
    assert sample(3, 5).tolist() == [0, 1, 2]
    assert (sample(1000, 5) == sample(1000, 5)).all()
    assert len(set(sample(1000, 5).tolist())) == 5


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_no_text_becomes_html():
    text = page(HOSTILE, HOSTILE, [], [Section(HOSTILE, HOSTILE, [Table(HOSTILE, (HOSTILE,), [(HOSTILE,)], HOSTILE)])])
    assert "img" not in Tags(text).found
    assert Tags(text).found.count("script") == 2
    assert "<" not in as_script({HOSTILE: [HOSTILE]})
    assert json.loads(as_script({HOSTILE: [HOSTILE, float("nan")]})) == {HOSTILE: [HOSTILE, None]}
    assert "<" not in plain(HOSTILE)


def test_what_fails_in_a_report_fails_no_run(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), draw(tmp_path):
        raise RuntimeError("no crystals today")
    assert "no crystals today" in caplog.text
    assert f"mgl-ssl report {tmp_path}" in caplog.text


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="no directory of a run"):
        report(runs=tmp_path)
    with pytest.raises(ConfigError, match="Name the directory"):
        report(runs=[])
    with pytest.raises(ConfigError, match=r"gap\.csv\.html"):
        report(runs=tmp_path, out="gap.csv")
