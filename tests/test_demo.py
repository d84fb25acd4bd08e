"""The demo, smaller: its table says what its predictions say, and its figure shows them."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from matgl_ssl.crystals import read_crystals
from matgl_ssl.demo import SCRATCH, Demo, figure, run
from matgl_ssl.ensemble.members import tabular

pytestmark = pytest.mark.pyg  # what it runs through is tested in both backends


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tabular, "_TREES", 20)
        yield out, run(out, n_labels=20, n_crystals=40, epochs=1)


def test_held_out_crystals_have_formulas_without_a_label(demo):
    out, found = demo
    labelled, others = (read_crystals(out / f"{name}.parquet") for name in ("labelled", "held-out"))
    assert len(labelled) == 20
    assert not set(labelled.formulas()) & set(others.formulas())
    assert found.predictions["id"].tolist() == others.ids
    assert found.predictions["computed"].tolist() == others.column("bulk_modulus").tolist()


def test_the_table_is_that_of_the_predictions(demo):
    out, found = demo
    kept = pd.read_csv(out / "predictions.csv")
    pd.testing.assert_frame_equal(kept, found.predictions)
    error = (kept["predicted"] - kept["computed"]).abs().mean()
    assert found.errors["fit, all learners together"] == pytest.approx(error)
    assert ((kept["lower"] <= kept["computed"]) & (kept["computed"] <= kept["upper"])).equals(kept["inside"])
    labels = read_crystals(out / "labelled.parquet").column("bulk_modulus")
    of_median = np.abs(kept["computed"] - np.median(labels)).mean()
    assert found.errors["median of the labels"] == pytest.approx(of_median)
    assert f"{kept['inside'].sum()} of {len(kept)} computed values" in str(found)
    assert len(found.errors) == 5


def test_the_figure_marks_what_is_outside_of_its_interval(tmp_path):
    rows = pd.DataFrame({"computed": [1.0, 2.0, 9.0], "predicted": [1.1, 1.9, 5.0], "inside": [True, True, False]})
    rows["lower"], rows["upper"] = rows["predicted"] - 0.5, rows["predicted"] + 0.5
    figure(Demo({SCRATCH: 3.0, "fit": 1.0}, rows, 1.0, 0.9), tmp_path / "demo.png")
    image = matplotlib.image.imread(tmp_path / "demo.png")[..., :3]
    orange = np.array([255, 127, 14]) / 255
    assert (np.abs(image - orange).max(axis=-1) < 0.02).sum() > 20
