"""What training warns of: labels that cannot be what they are taken for, and tests on training crystals."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from small_systems import SMALL, from_spacegroup
from strained_metals import labelled

from matgl_ssl import finetune
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.training.config import RunConfig
from matgl_ssl.training.data import checked_crystals

PAIRS = [("Na", "Cl"), ("Cs", "Cl"), ("Mg", "O"), ("Fe", "O"), ("Na", "H"), ("La", "C")]


def salts(**labels: object) -> list[Crystal]:
    """Rock salts of six formulas, each in cells of three sizes."""
    made = []
    for i, pair in enumerate(PAIRS):
        one = from_spacegroup("Fm-3m", 5.0 + 0.1 * i, pair, [[0, 0, 0], [0.5, 0.5, 0.5]]).to_structure()
        for k in (1, 2, 3):
            crystal = Crystal.from_structure(one * (1, 1, k), id=f"{i}-{k}")
            made.append(replace(crystal, labels={name: value(i, len(crystal)) for name, value in labels.items()}))
    return made


def warnings_of(caplog, tmp_path, data, **options):
    arguments = {"model_args": {**SMALL["MEGNet"], "nblocks": 1}, "epochs": 0, "accelerator": "cpu", **options}
    caplog.set_level(logging.INFO, "matgl_ssl")
    finetune(data=data, out=tmp_path / "run", model="MEGNet", **arguments)
    return "\n".join(record.getMessage() for record in caplog.records if "MAE" not in record.getMessage())


@pytest.fixture(autouse=True)
def _records(monkeypatch):
    monkeypatch.setattr(logging.getLogger("matgl_ssl"), "propagate", True)


def test_a_total_energy_that_is_trained_as_intensive(caplog, tmp_path):
    said = warnings_of(caplog, tmp_path, salts(energy=lambda i, n: -(3.0 + i) * n), target="energy")
    assert "energy: grows with the cell" in said
    assert "--extensive" in said


def test_nothing_is_said_of_an_intensive_one(caplog, tmp_path):
    said = warnings_of(caplog, tmp_path, salts(energy_per_atom=lambda i, n: -3.0 - i), target="energy_per_atom")
    assert "extensive" not in said


def test_test_data_that_are_training_data(caplog, tmp_path):
    data = salts(gap=lambda i, n: float(i))
    said = warnings_of(caplog, tmp_path, data, target="gap", test_data=data[:4])
    assert "4 of 4 test crystals have a formula that training crystals have too, and 4 are the same structure" in said


def test_a_random_split_of_copies_and_one_by_formula(caplog, tmp_path):
    data = salts(gap=lambda i, n: float(i))
    said = warnings_of(caplog, tmp_path, data, target="gap", split="random", test_fraction=0.4)
    assert "test crystals have a formula that training crystals have too" in said
    caplog.clear()
    said = warnings_of(caplog, tmp_path / "other", data, target="gap", test_fraction=0.4)
    assert "12 crystals have the formula of another one; no formula is in two parts" in said
    assert "too good" not in said


def test_stresses_in_kbar_before_pretraining(caplog):
    encoder = Encoder(new_model("MEGNet", {"element_types": ("Al", "Cu", "Ni")}))
    names = ["energy", "forces", "stress"]
    checked_crystals(labelled(), encoder, RunConfig(), labels=names)
    assert not caplog.records
    checked_crystals(labelled(stress=lambda x, crystal: -1602.1766 * np.asarray(x)), encoder, RunConfig(), labels=names)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "--stress-unit kbar-compression" in caplog.text
