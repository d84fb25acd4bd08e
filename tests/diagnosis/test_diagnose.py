"""The doctor sees what the model named would choke on."""

from __future__ import annotations

import numpy as np
import pytest
from small_systems import cscl, nacl, small_model

from matgl_ssl import doctor
from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import save_model

SPARSE = Crystal(np.array([11]), np.zeros((1, 3)), 4.5 * np.eye(3), id="sparse")
GOLD = Crystal(np.array([79]), np.zeros((1, 3)), 2.9 * np.eye(3), id="gold")


def test_good_crystals_are_good():
    report = doctor(data=[nacl(), cscl()])
    assert (report.n_total, report.n_kept, report.findings) == (2, 2, ())


@pytest.mark.parametrize(("model", "kept"), [("M3GNet", 2), ("MEGNet", 1)])
def test_the_cutoff_is_that_of_the_architecture(model, kept):
    assert doctor(data=[nacl(), SPARSE], model=model).n_kept == kept


def test_another_cutoff_and_distance_can_be_asked_for():
    assert doctor(data=[nacl(), SPARSE], model="MEGNet", cutoff=5.0).n_kept == 2
    report = doctor(data=[nacl(), SPARSE], min_distance=3.0)
    assert report.ids("too-close") == ["nacl"]


def test_the_elements_are_those_of_a_saved_model_or_instance(tmp_path):
    assert doctor(data=[nacl(), GOLD]).n_kept == 2
    path = save_model(small_model("MEGNet"), tmp_path / "run" / "encoder", readout="untrained")
    for model in (small_model("MEGNet"), path, path.parent):
        report = doctor(data=[nacl(), GOLD], model=model)
        assert report.ids("unknown-element") == ["gold"]
    assert "gold" in report.table()


def test_where_nothing_is_usable_the_report_says_so():
    report = doctor(data=SPARSE, model="MEGNet")
    assert (report.n_total, report.n_kept, report.ids("no-edges")) == (1, 0, ["sparse"])


def test_no_such_model_is_an_error(tmp_path):
    with pytest.raises(ModelError):
        doctor(data=nacl(), model=tmp_path / "none")
