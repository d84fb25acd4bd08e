"""Which backend a model belongs to: stamps, signs, declarations. Nothing of the other backend is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from small_systems import ELEMENTS, small_model

from matgl_ssl import predict
from matgl_ssl._backend import MATGL_VERSION
from matgl_ssl.backends import Potential
from matgl_ssl.errors import BackendError, ConfigError, ModelError
from matgl_ssl.hub import load_model, load_with_stamp, save_model
from matgl_ssl.hub.stamp import KEY, sign

LEGACY = {
    "MEGNet-MP-2018.6.1-Eform": (None, -2.11),  # eV/atom
    "MEGNet-MP-2019.4.1-BandGap-mfi": (0, 5.03),  # eV, PBE
    "M3GNet-MatPES-PBE-v2025.1-PES": (None, -6.74),  # eV per primitive cell
}
OTHER = {"pyg": "dgl", "dgl": "pyg"}
SAVE_THERE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from small_systems import small_model
from matgl_ssl.backends import Potential
from matgl_ssl.hub import save_model
out = Path(sys.argv[2])
models = {"M3GNet": small_model("M3GNet", is_intensive=False), "MEGNet": small_model("MEGNet", seed=1)}
for name, model in models.items():
    model.save(out / f"{name}-bare")
    save_model(model, out / f"{name}-stamped", kind="model", readout="trained")
energy = Potential(models["M3GNet"])
energy.save(out / "Potential-bare")
save_model(energy, out / "Potential-stamped", kind="potential", readout="trained")
"""


def test_the_stamp_says_what_wrote_it_and_what_it_predicts(stamped, backend_name):
    stamp = json.loads((stamped / "model.json").read_text())["metadata"][KEY]
    assert stamp["graph_library"] == backend_name
    assert stamp["versions"]["matgl"] == MATGL_VERSION
    assert (stamp["kind"], stamp["readout"]) == ("model", "trained")
    assert [*stamp["references"]] == ["rock salt", "fcc", "perovskite", *(f"fcc {element}" for element in ELEMENTS)]
    assert len({round(prediction, 6) for prediction in stamp["references"].values()}) == len(ELEMENTS) + 2  # fcc twice


def test_tampered_weights_are_refused(stamped):
    weights = torch.load(stamped / "state.pt", weights_only=True)
    tampered = {key: 1.1 * value if value.is_floating_point() else value for key, value in weights.items()}
    torch.save(tampered, stamped / "state.pt")
    with pytest.raises(ModelError, match="incomplete or were changed"):
        load_model(stamped)
    sign(stamped)
    with pytest.raises(ModelError, match="does not predict what it predicted when it was saved: rock salt"):
        load_model(stamped)


@pytest.mark.parametrize("declared", [None, "pyg", "dgl"])
def test_a_stamp_of_the_other_backend_is_refused_whatever_is_declared(stamped, edit_json, backend_name, declared):
    edit_json(stamped, lambda content: content["metadata"][KEY].update(graph_library=OTHER[backend_name]))
    with pytest.raises(BackendError, match=f"trained with {OTHER[backend_name].upper()} \\(its stamp says"):
        load_model(stamped, trained_with=declared)


def test_a_stamp_of_this_backend_needs_no_declaration_and_bears_no_contradiction(stamped, backend_name):
    load_model(stamped)
    load_model(stamped, trained_with=backend_name)
    with pytest.raises(BackendError, match="was declared as trained with"):
        load_model(stamped, trained_with=OTHER[backend_name])


@pytest.mark.parametrize(
    "damage",
    [
        {"versions": None}, {"references": []}, {"graph_library": "jax"}, {"references": [{}]},
        {"references": {"fcc": "0"}}, {"references": {"hcp": 1.0}}, {"format": 4, "written_by": "matgl_ssl 9"},
    ],
)  # fmt: skip
def test_a_damaged_stamp_is_one_error(stamped, edit_json, damage):
    edit_json(stamped, lambda content: content["metadata"][KEY].update(damage))
    with pytest.raises(ModelError):
        load_model(stamped)


def test_a_bare_model_is_refused_until_its_backend_is_declared(bare, backend_name):
    with pytest.raises(BackendError, match=r"is unknown.*--trained-with pyg.*--trained-with dgl"):
        load_model(bare)
    with pytest.raises(BackendError, match="it was declared so"):
        load_model(bare, trained_with=OTHER[backend_name])
    model, stamp = load_with_stamp(bare, trained_with=backend_name)
    assert stamp == {}
    assert not model.training


def test_a_declaration_is_pyg_or_dgl(bare):
    with pytest.raises(ConfigError, match="Did you mean 'pyg'"):
        load_model(bare, trained_with="pygg")


def test_a_bare_potential_of_this_backend_shows_it(tmp_path, backend_name):
    Potential(small_model("M3GNet", is_intensive=False)).save(tmp_path / "potential")
    load_model(tmp_path / "potential")
    with pytest.raises(BackendError, match="was declared as trained with"):
        load_model(tmp_path / "potential", trained_with=OTHER[backend_name])


def test_a_potential_without_any_sign_is_older_than_matgl_4_and_admitted_nowhere(tmp_path, edit_json, backend_name):
    path = tmp_path / "potential"
    Potential(small_model("M3GNet", is_intensive=False)).save(path)

    def of_matgl_3(content):
        content["@module"] = "matgl.apps.pes"
        content["kwargs"].pop("compile_model", None)

    edit_json(path, of_matgl_3)
    with pytest.raises(BackendError, match="written before MatGL 4.0" if backend_name == "pyg" else "is unknown"):
        load_model(path)


@pytest.fixture
def rock_salt() -> Structure:
    """The primitive cell of NaCl."""
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    return cubic.get_primitive_structure()


@pytest.mark.data
@pytest.mark.pyg
@pytest.mark.parametrize("declared", [None, "pyg", "dgl"])
@pytest.mark.parametrize("name", LEGACY)
def test_legacy_models_are_refused_in_the_pyg_backend(data_dir, name, declared):
    with pytest.raises(BackendError, match="silently and mispredict"):
        load_model(data_dir / "legacy_models" / name, trained_with=declared)


@pytest.mark.data
@pytest.mark.dgl
@pytest.mark.parametrize("name", LEGACY)
def test_legacy_models_predict_rock_salt_in_the_dgl_backend(data_dir, rock_salt, name):
    state, expected = LEGACY[name]
    path = data_dir / "legacy_models" / name
    found = predict(model=path, data=rock_salt, trained_with="dgl", state_attr=state)
    assert found[0].value == pytest.approx(expected, abs=0.006)
    if "PES" in name:
        assert (found[0].name, found[0].unit) == ("energy", "eV")


@pytest.fixture(scope="session")
def from_there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models saved a moment ago in the other backend."""
    python = os.environ.get("MATGL_SSL_OTHER_PYTHON")
    if not python:
        pytest.skip("set MATGL_SSL_OTHER_PYTHON to a Python with matgl_ssl in the other backend")
    out = tmp_path_factory.mktemp("there")
    tests = Path(sys.modules["small_systems"].__file__).parent
    environment = {k: v for k, v in os.environ.items() if k not in ("MATGL_BACKEND", "DGLBACKEND")}
    done = subprocess.run(
        [python, "-c", SAVE_THERE, str(tests), str(out)], capture_output=True, text=True, timeout=300, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_fresh_models_of_the_other_backend_are_refused(from_there, backend_name, name):
    with pytest.raises(BackendError, match="--trained-with"):
        load_model(from_there / f"{name}-bare")
    with pytest.raises(BackendError, match="it was declared so"):
        load_model(from_there / f"{name}-bare", trained_with=OTHER[backend_name])
    for declared in (None, "pyg", "dgl"):
        with pytest.raises(BackendError, match="its stamp says"):
            load_model(from_there / f"{name}-stamped", trained_with=declared)


@pytest.mark.parametrize("declared", [None, "pyg", "dgl"])
@pytest.mark.parametrize("kind", ["bare", "stamped"])
def test_fresh_potentials_of_the_other_backend_are_refused(from_there, kind, declared):
    with pytest.raises(BackendError):
        load_model(from_there / f"Potential-{kind}", trained_with=declared)


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_without_the_refusal_the_same_weights_would_give_other_numbers(from_there, backend_name, name):
    there = json.loads((from_there / f"{name}-stamped" / "model.json").read_text())["metadata"][KEY]["references"]
    model = load_model(from_there / f"{name}-bare", trained_with=backend_name)
    path = save_model(model, from_there / f"{name}-mistaken-{backend_name}")
    here = json.loads((path / "model.json").read_text())["metadata"][KEY]["references"]
    first, second = (np.array(list(references.values())) for references in (there, here))
    assert np.abs(first - second).max() > 0.01 * np.abs(first).max()
