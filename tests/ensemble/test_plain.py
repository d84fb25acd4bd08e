"""One plain network in place of all learners."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from ensemble.conftest import known_elements
from pymatgen.core import Element
from small_systems import cscl, nacl

import matgl_ssl
from matgl_ssl import fit
from matgl_ssl.crystals import check_dataset
from matgl_ssl.ensemble import plain
from matgl_ssl.ensemble.members import FineTuned
from matgl_ssl.ensemble.similar import similar_crystals
from matgl_ssl.hub import new_model
from matgl_ssl.training.data import read_source


def test_similar_crystals_have_other_elements_of_the_same_groups_and_fitting_cells():
    crystals = [cscl(), nacl()]
    elements = ("Li", "Na", "K", "Rb", "Cs", "F", "Cl", "Br", "I", "Fe")
    made = similar_crystals(crystals, 60, elements, seed=0)
    assert len(made) == 60
    assert len({crystal.id for crystal in made}) == 60
    for crystal in made:
        symbols = [Element.from_Z(int(z)) for z in np.unique(crystal.numbers)]
        assert {symbol.group for symbol in symbols} == {1, 17}
        assert {symbol.symbol for symbol in symbols} <= set(elements)
    fluoride = next(c for c in made if 9 in c.numbers)
    iodide = next(c for c in made if 53 in c.numbers and len(c) == len(fluoride))
    assert fluoride.volume < iodide.volume
    again = similar_crystals(crystals, 60, elements, seed=0)
    np.testing.assert_array_equal([c.volume for c in made], [c.volume for c in again])


def test_crystals_without_a_neighbour_in_their_group_are_left_out():
    assert similar_crystals([nacl()], 5, ("Na", "Cl", "Fe"), seed=0) == []


def test_the_shipped_crystals_are_small_have_no_label_and_no_formula_twice():
    crystals = read_source(str(plain.SHIPPED))
    assert len(crystals) == 3000
    assert not crystals.label_names
    assert crystals.sizes().max() <= 20
    assert len(set(crystals.formulas())) == 3000
    kept, report = check_dataset(crystals, element_types=new_model("MEGNet").element_types)
    assert len(kept) == 3000, str(report)


@pytest.fixture(scope="module")
def fitted(encoder, tmp_path_factory):
    data = known_elements(30, lambda metal, anion, a: metal - anion + a)
    out = tmp_path_factory.mktemp("plain") / "fit"
    options = {"epochs": 60, "batch_size": 8}
    return fit(
        data=data, target="target", unit="GPa", out=out, encoders=[encoder], fine_tunings=0, finetune=options,
        budget=60, n_folds=3, accelerator="cpu",
    ), data  # fmt: skip


def test_the_model_is_plain_and_says_nearly_what_all_learners_say(fitted):
    result, data = fitted
    model = matgl_ssl.load_model(result.out / "model")
    assert type(model).__name__ == "MEGNet"
    assert "is a plain MatGL model" in result.report.read_text()
    others = known_elements(20, lambda metal, anion, a: 0.0, seed=1)
    alone = np.array([p.value for p in matgl_ssl.predict(model=result.out / "model", data=others)])
    together = np.array([p.value for p in matgl_ssl.predict(model=result.out, data=others)])
    spread = np.std(data.column("target").astype(float))
    assert np.abs(alone - together).mean() < 0.5 * spread
    stamp = json.loads((result.out / "model" / "model.json").read_text())["metadata"]["matgl_ssl"]
    assert stamp["target"]["name"] == "target"
    assert stamp["target"]["unit"] == "GPa"


def test_going_on_does_not_train_it_again(fitted, encoder, monkeypatch):
    result, data = fitted
    before = (result.out / "model" / "state.pt").read_bytes()
    monkeypatch.setattr(FineTuned, "fit", None)
    fit(
        data=data, target="target", unit="GPa", out=result.out, encoders=[encoder], fine_tunings=0,
        finetune={"epochs": 60, "batch_size": 8}, budget=60, n_folds=3, accelerator="cpu",
    )  # fmt: skip
    assert (result.out / "model" / "state.pt").read_bytes() == before


def test_it_learns_from_crystals_that_the_user_has(fitted, encoder, tmp_path):
    result, data = fitted
    before = (result.out / "model" / "state.pt").read_bytes()
    candidates = known_elements(25, lambda metal, anion, a: 0.0, seed=7).write_parquet(tmp_path / "candidates.parquet")
    fit(
        data=data, target="target", unit="GPa", out=result.out, encoders=[encoder], fine_tunings=0, budget=60,
        finetune={"epochs": 60, "batch_size": 8}, n_folds=3, accelerator="cpu", unlabelled=str(candidates),
    )  # fmt: skip
    assert (result.out / "model" / "state.pt").read_bytes() != before
    assert "crystals without labels" in result.report.read_text()
    assert int(re.search(r"says of (\d+) crystals", result.report.read_text())[1]) <= 25
