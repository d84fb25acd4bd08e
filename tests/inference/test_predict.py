"""Predictions in physical units, and refusals where a number would be a lie."""

from __future__ import annotations

import logging
import math
import sys

import numpy as np
import pytest
import torch
from bad_crystals import BAD
from pymatgen.core import Lattice, Structure
from small_systems import EXTENSIVE, NAMES, cscl, iron, nacl, skewed, small_model, some_crystals, supercell

from matgl_ssl._backend import BACKEND
from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import BadStructureError, ConfigError, DataError, ModelError, NonFiniteError
from matgl_ssl.hub import save_model
from matgl_ssl.inference import predict

MODELS = {
    "MEGNet": ("MEGNet", {}),
    "M3GNet": ("M3GNet", {}),
    **{f"{name} sum over atoms": (name, {"is_intensive": False}) for name in EXTENSIVE},
}
if BACKEND == "pyg":
    MODELS["TensorNet"] = ("TensorNet", {})
BAND_GAP = {"name": "band_gap", "unit": "eV", "transform": None, "extensive": False}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest):
    name, arguments = MODELS[request.param]
    return small_model(name, **arguments)


def values(predictions) -> np.ndarray:
    return np.array([prediction.value for prediction in predictions])


def test_one_prediction_a_crystal_in_order_whatever_the_batch(model):
    together = predict(model=model, data=some_crystals())
    assert [p.id for p in together] == ["nacl", "cscl", "fe", "skewed"]
    singly = predict(model=model, data=some_crystals(), batch_size=1)
    np.testing.assert_allclose(values(together), values(singly), rtol=1e-4, atol=1e-6)
    assert len(set(values(together))) == 4


def test_pymatgen_ase_and_files_are_the_same_crystal(model, tmp_path):
    crystal = skewed()
    table = CrystalDataset.from_crystals([crystal]).write_parquet(tmp_path / "one.parquet")
    sources = [crystal, crystal.to_structure(), crystal.to_atoms(), [crystal], table]
    found = np.concatenate([values(predict(model=model, data=source)) for source in sources])
    np.testing.assert_allclose(found, found[0], rtol=1e-5, atol=1e-6)


def test_it_agrees_with_matgl(model):
    crystal = nacl()
    ours = predict(model=model, data=crystal)[0].value
    with torch.no_grad():
        theirs = float(model.predict_structure(crystal.to_structure()))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)


def test_the_callers_model_is_untouched(model):
    model.train()
    next(model.children()).eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    attributes = set(vars(model)) | {"feature_dict"}
    random = torch.random.get_rng_state()
    predict(model=model, data=[nacl(), cscl()])
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(vars(model)) | {"feature_dict"} == attributes
    assert not getattr(model, "feature_dict", None)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_train_mode_and_dropout_do_not_reach_the_prediction():
    model = small_model("MEGNet", dropout=0.5)
    quiet = values(predict(model=model, data=some_crystals()))
    np.testing.assert_array_equal(values(predict(model=model.train(), data=some_crystals())), quiet)


def test_name_and_unit_come_from_the_stamp(tmp_path):
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained", target=BAND_GAP)
    found = predict(model=path, data=nacl())[0]
    assert (found.name, found.unit) == ("band_gap", "eV")
    assert str(found) == f"nacl  band_gap = {found.value:.8g}  eV"
    assert found.value == pytest.approx(predict(model=small_model("MEGNet"), data=nacl())[0].value, rel=1e-5)


def test_a_logarithm_is_inverted(tmp_path):
    target = {**BAND_GAP, "name": "bulk_modulus", "unit": "GPa", "transform": "log10"}
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained", target=target)
    found = predict(model=path, data=some_crystals())
    raw = predict(model=small_model("MEGNet"), data=some_crystals())
    np.testing.assert_allclose(values(found), 10 ** values(raw), rtol=1e-5)
    assert found[0].unit == "GPa"


def test_a_transform_from_the_future_is_refused(tmp_path):
    target = {**BAND_GAP, "transform": "arcsinh"}
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained", target=target)
    with pytest.raises(ModelError, match="arcsinh"):
        predict(model=path, data=nacl())


def test_an_unknown_unit_is_said_to_be_unknown(tmp_path):
    assert predict(model=small_model("MEGNet"), data=nacl())[0].unit == "(no unit given)"
    target = {**BAND_GAP, "unit": ""}
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained", target=target)
    assert predict(model=path, data=nacl())[0].unit == "(no unit given)"


def test_an_encoder_is_not_asked_for_a_number(tmp_path):
    path = save_model(small_model("MEGNet"), tmp_path / "encoder", kind="encoder", readout="untrained")
    with pytest.raises(ModelError, match=r"untrained.*finetune --init-from"):
        predict(model=path, data=nacl())
    with pytest.raises(ModelError, match="untrained"):
        predict(model="MEGNet", data=nacl())


def test_a_potential_gives_energies_in_its_own_unit(tmp_path):
    potential = Potential(small_model("M3GNet", is_intensive=False)).eval()
    found = predict(model=potential, data=[iron(), supercell(iron(), (2, 2, 2))])
    assert (found[0].name, found[0].unit) == ("energy", "eV")
    assert found[1].value == pytest.approx(8 * found[0].value, rel=1e-4)
    unit = "arbitrary, not eV"
    path = save_model(potential, tmp_path / "potential", kind="potential", readout="denoising", unit=unit)
    assert str(predict(model=path, data=iron())[0]).endswith(unit)
    assert predict(model=path, data=iron())[0].value != 0
    assert all(parameter.grad is None for parameter in potential.parameters())


def test_a_sum_over_atoms_with_references_carries_its_targets_name(tmp_path):
    potential = Potential(small_model("M3GNet", is_intensive=False), element_refs=np.arange(11.0)).eval()
    target = {"name": "total_energy", "unit": "eV", "transform": None, "extensive": True}
    path = save_model(potential, tmp_path / "model", kind="model", readout="trained", target=target)
    found = predict(model=path, data=cscl())[0]
    assert (found.name, found.unit) == ("total_energy", "eV")
    without = predict(model=small_model("M3GNet", is_intensive=False), data=cscl())[0]
    assert found.value == pytest.approx(without.value + 8 + 6, rel=1e-5)


@pytest.mark.parametrize("name", ["MEGNet", "M3GNet"])
class TestStateLabels:
    @pytest.fixture
    def labelled(self, name):
        return small_model(name, ntypes_state=4, dim_state_embedding=6, include_state=True)

    def test_one_for_all_is_one_for_each(self, labelled):
        crystals = [nacl(), cscl()]
        for_all = values(predict(model=labelled, data=crystals, state_attr=2))
        np.testing.assert_array_equal(values(predict(model=labelled, data=crystals, state_attr=[2, 2])), for_all)
        numpys = values(predict(model=labelled, data=crystals, state_attr=np.array([2, 2])))
        np.testing.assert_array_equal(numpys, for_all)
        other = values(predict(model=labelled, data=crystals, state_attr=[2, 0], batch_size=1))
        assert other[0] == pytest.approx(for_all[0], rel=1e-4)
        assert other[1] != pytest.approx(for_all[1], rel=1e-4)

    @pytest.mark.parametrize("state", [None, 4, -1, [0, 7], [0, 1, 2], 1.5, ["x"], []])
    def test_what_is_missing_or_wrong_is_refused_with_the_range(self, labelled, state):
        state = [state] if isinstance(state, float) else state
        with pytest.raises(ModelError, match=r"--state-attr \(state_attr=\) takes one of 0 to 3"):
            predict(model=labelled, data=[nacl(), cscl()], state_attr=state)

    def test_what_is_not_wanted_is_refused(self, name):
        with pytest.raises(ModelError, match="leave out --state-attr"):
            predict(model=small_model(name), data=nacl(), state_attr=0)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_crystal_is_one_clear_error(bad_file, name, kind):
    with pytest.raises(DataError, match=BAD[kind]) as caught:
        predict(model=small_model(name), data=bad_file(kind))
    if kind != "empty":
        assert isinstance(caught.value, BadStructureError)


def test_bad_crystals_among_good_ones_have_a_row_and_a_reason(mixed, caplog):
    with caplog.at_level(logging.WARNING, "matgl_ssl"):
        found = predict(model=small_model("MEGNet"), data=mixed)
    assert [p.id for p in found] == ["nacl", "nan", "cscl", "coincident", "unknown-element", "skewed"]
    assert [bool(p.note) for p in found] == [False, True, False, True, True, False]
    np.testing.assert_array_equal(np.isnan(values(found)), [bool(p.note) for p in found])
    good = predict(model=small_model("MEGNet"), data=[nacl(), cscl(), skewed()])
    np.testing.assert_allclose(values(found)[[0, 2, 5]], values(good), rtol=1e-5)
    assert str(found[3]).startswith("coincident  not predicted  (coincident: two atoms 0.000 Å apart")
    assert any("3 of 6 crystals are left out" in message for message in caplog.messages)


def test_each_structure_given_has_its_row():
    alloy = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Na": 0.5}], [[0, 0, 0]])
    found = predict(model=small_model("MEGNet"), data=[alloy, nacl().to_structure(), iron().to_atoms(), alloy])
    assert [math.isnan(p.value) for p in found] == [True, False, False, True]
    assert "disordered" in found[0].note


def test_state_labels_are_those_of_the_crystals_given():
    model = small_model("MEGNet", ntypes_state=4, dim_state_embedding=6, include_state=True)
    bad = Crystal(np.array([26]), np.full((1, 3), np.nan), np.eye(3))
    found = predict(model=model, data=[bad, nacl(), cscl()], state_attr=[0, 2, 1])
    alone = predict(model=model, data=[nacl(), cscl()], state_attr=[2, 1])
    np.testing.assert_array_equal(values(found)[1:], values(alone))


@pytest.mark.parametrize("offset", [1e3, -1e5, 1e6, 1e7])
def test_the_cell_that_an_atom_is_written_in_does_not_matter(model, offset):
    crystal = skewed()
    inside = crystal.frac_coords - np.floor(crystal.frac_coords)  # MatGL 2.2's M3GNet depends on the order of edges
    shifts = offset * np.random.default_rng(0).choice([-1, 1], inside.shape)
    found = values(
        predict(model=model, data=[Crystal(crystal.numbers, x, crystal.lattice) for x in (inside, inside + shifts)])
    )
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-5)


def test_elements_that_no_training_crystal_had_are_marked(tmp_path, caplog):
    facts = {"kind": "model", "readout": "trained", "target": BAND_GAP}
    marked = "not to be trusted: the model was never trained on"
    path = save_model(small_model("MEGNet"), tmp_path / "model", **facts, elements=["Na", "Cl"])
    with caplog.at_level(logging.WARNING, "matgl_ssl"):
        found = predict(model=path, data=[nacl(), cscl(), iron()])
    assert [p.note for p in found] == [
        "",
        *(f"{marked} {e}" for e in ("Cs", "Fe")),
    ]
    assert np.isfinite(values(found)).all()
    assert str(found[1]).endswith("eV  (not to be trusted: the model was never trained on Cs)")
    assert "2 predictions have a note, as cscl: not to be trusted: the model was never trained on Cs" in caplog.text
    for known in ({"elements": ["Cl", "Fe", "Na", "Cs"]}, {}, {"elements": None}):
        path = save_model(small_model("MEGNet"), tmp_path / "model", **facts, **known)
        assert {p.note for p in predict(model=path, data=[nacl(), cscl(), iron()])} == {""}


def test_an_output_that_is_no_number_is_said():
    model = small_model("MEGNet")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="no finite number for any crystal"):
        predict(model=model, data=nacl())


def test_one_output_that_is_no_number_is_a_row_of_its_own(monkeypatch):
    module = sys.modules[predict.__module__]
    outputs = iter([torch.tensor([1.5]), torch.tensor([math.inf])])
    monkeypatch.setattr(module, "model_output", lambda *_: next(outputs))
    found = predict(model=small_model("MEGNet"), data=[nacl(), cscl()], batch_size=1)
    assert str(found[0]) == "nacl  prediction = 1.5  (no unit given)"
    assert str(found[1]) == "cscl  not predicted  (the model's output is not a finite number)"


def test_an_isolated_atom_beside_bonded_ones_is_predicted():
    crystal = nacl()
    lattice = crystal.lattice.copy()
    lattice[2, 2] += 30
    frac = crystal.cart_coords @ np.linalg.inv(lattice)
    far = np.array([[0.25, 0.25, 0.6]])
    crystal = type(crystal)(np.append(crystal.numbers, 6), np.vstack([frac, far]), lattice, id="with a stranger")
    for name in NAMES:
        assert np.isfinite(predict(model=small_model(name), data=crystal)[0].value)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="batch-size"):
        predict(model=small_model("MEGNet"), data=nacl(), batch_size=0)
