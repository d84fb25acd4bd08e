"""What comes out needs nothing but MatGL: each export, loaded where only matgl is installed, predicts the same.

That Python has MatGL 4, so this is about the default backend_name: MatGL 2 turns the messages round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Structure
from small_systems import SMALL

from matgl_ssl import load_model, predict
from matgl_ssl.backends import collate
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.demo import EMT_METALS, demo_task
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import model_output
from matgl_ssl.training.finetune import finetune
from matgl_ssl.training.pretrain import pretrain

pytestmark = pytest.mark.pyg

EXPORTS = (
    "M3GNet encoder", "MEGNet encoder", "TensorNet encoder", "M3GNet model", "MEGNet model", "MEGNet log model",
    "M3GNet energy model", "TensorNet energy model", "M3GNet potential", "TensorNet potential",
)  # fmt: skip

RUNS = {"M3GNet": "derivative-denoising", "MEGNet": "masked-atoms", "TensorNet": "energy-force-stress"}

PLAIN = """
import importlib.util, json, sys
import matgl, torch
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from pymatgen.core import Structure

assert importlib.util.find_spec("matgl_ssl") is None, "this Python has matgl_ssl"
torch.set_num_threads(1)
paths, structures, size = json.loads(sys.stdin.read())
structures = [Structure.from_dict(s) for s in structures]
matgl.set_default_dtype("float", size)
found = {}
for name, path in paths.items():
    model = matgl.load_model(path)
    modes = {m.training for m in model.modules()}
    model = model.double() if size == 64 else model
    if isinstance(model, Potential):
        calculator = PESCalculator(model, stress_unit="eV/A3")
        values = []
        for structure in structures:
            atoms = structure.to_ase_atoms()
            atoms.calc = calculator
            values.append(float(atoms.get_potential_energy()))
    else:
        values = [float(model.predict_structure(structure)) for structure in structures]
    found[name] = {"class": type(model).__name__, "training": sorted(modes), "values": values}
print(json.dumps(found))
"""

OURS = """
import json, sys
import matgl_ssl
import matgl, torch
from pymatgen.core import Structure
from matgl_ssl.hub import load_model, model_output
from matgl_ssl.backends import collate
from matgl_ssl.crystals import read_crystals
from matgl_ssl.encoders import Encoder

torch.set_num_threads(1)
paths, structures, size = json.loads(sys.stdin.read())
matgl.set_default_dtype("float", size)
crystals = read_crystals([Structure.from_dict(s) for s in structures])
found = {}
for name, path in paths.items():
    model = load_model(path)
    model = model.double() if size == 64 else model
    build = Encoder(model).graph_builder()
    found[name] = {"values": model_output(model, collate([build(c) for c in crystals])).tolist()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, matgl_only_python: str) -> dict[str, Path]:
    """One export of each kind, out of runs with dropout."""
    root, task = tmp_path_factory.mktemp("exports"), demo_task(24, seed=4)
    arguments = {name: {**SMALL[name], "element_types": EMT_METALS, "dropout": 0.1} for name in SMALL}
    del arguments["TensorNet"]["dropout"]
    common = {"data": task, "epochs": 1, "batch_size": 8, "accelerator": "cpu"}
    made = {}
    for name, recipe in RUNS.items():
        result = pretrain(model=name, model_args=arguments[name], recipe=recipe, out=root / name, **common)
        made[f"{name} encoder"] = result.encoder
        if result.potential:
            made[f"{name} potential"] = result.potential
            energy = {"init_from": str(root / name), "target": "energy", "extensive": True}
            made[f"{name} energy model"] = finetune(out=root / f"{name}-energy", **common, **energy).model
        if name != "TensorNet":
            tuned = {"init_from": str(result.out), "target": "energy_per_atom"}
            made[f"{name} model"] = finetune(out=root / f"{name}-tuned", **common, **tuned).model
    log = {"init_from": str(root / "MEGNet"), "target": "bulk_modulus", "transform": "log10"}
    made["MEGNet log model"] = finetune(out=root / "log", **common, **log).model
    assert made.keys() == set(EXPORTS)
    return made


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    return [crystal.to_structure() for crystal in demo_task(6, seed=9)]


def run(
    python: list[str], code: str, exports: dict[str, Path], structures: list[Structure], size: int
) -> dict[str, Any]:
    given = json.dumps([{k: str(v) for k, v in exports.items()}, [s.as_dict() for s in structures], size])
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MATGL_BACKEND")}
    done = subprocess.run(
        [*python, "-c", code], input=given, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plainly(
    matgl_only_python: str, exports: dict[str, Path], structures: list[Structure]
) -> Callable[[int], dict[str, Any]]:
    """Predictions of matgl alone, in float32 or float64."""
    found = {size: run([matgl_only_python, "-I"], PLAIN, exports, structures, size) for size in (32, 64)}
    return found.__getitem__


@pytest.mark.parametrize("name", EXPORTS)
def test_float32_predictions_are_the_same_to_a_millionth(plainly, exports, structures, name):
    model = load_model(exports[name])
    build = Encoder(model).graph_builder()
    crystals = CrystalDataset.from_crystals(demo_task(6, seed=9))
    ours = np.array([model_output(model, collate([build(c)])).item() for c in crystals])
    np.testing.assert_allclose(plainly(32)[name]["values"], ours, rtol=1e-6, atol=1e-6 * np.abs(ours).max())


@pytest.fixture(scope="module")
def ours_in_float64(exports: dict[str, Path], structures: list[Structure]) -> dict[str, Any]:
    """Our predictions in float64, in a process of its own, as MatGL's default dtype is global."""
    return run([sys.executable], OURS, exports, structures, 64)


@pytest.mark.parametrize("name", EXPORTS)
def test_float64_predictions_are_the_same_to_twelve_digits(plainly, ours_in_float64, name):
    np.testing.assert_allclose(plainly(64)[name]["values"], ours_in_float64[name]["values"], rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.endswith("model")])
def test_our_predict_speaks_the_same_unit(plainly, exports, structures, name):
    ours = predict(model=exports[name], data=structures)
    plain = np.array(plainly(32)[name]["values"])
    unit, values = ("eV" if "energy" in name else "eV/atom"), plain
    if name == "MEGNet log model":
        unit, values = "GPa", 10**plain
    assert {p.unit for p in ours} == {unit}
    np.testing.assert_allclose([p.value for p in ours], values, rtol=1e-5, atol=1e-6)


def test_matgl_loads_them_in_train_mode_and_still_repeats_itself(plainly):
    """``predict_structure`` never calls ``eval()``: two processes agree, so no dropout was left to act."""
    for name in EXPORTS:
        assert plainly(32)[name]["training"] == [True]
        np.testing.assert_allclose(plainly(32)[name]["values"], plainly(64)[name]["values"], rtol=1e-3, atol=1e-4)


def test_each_is_the_class_it_should_be(plainly):
    classes = {name: plainly(32)[name]["class"] for name in EXPORTS}
    assert classes == {
        name: "Potential" if "energy" in name or "potential" in name else name.split()[0] for name in EXPORTS
    }
