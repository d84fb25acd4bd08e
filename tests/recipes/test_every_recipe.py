"""Every recipe, on both encoders, from the command line: it pretrains, and what it exports fine-tunes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_systems import EXTENSIVE, NAMES, SMALL, cscl, iron, nacl, rattled, skewed

from matgl_ssl import cli, list_recipes
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ModelError
from matgl_ssl.hub.stamp import OUTPUT, VECTOR
from matgl_ssl.recipes import load_recipe
from matgl_ssl.training.pretrain import pretrain


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Twelve crystals with every label that a recipe can ask for, a one-atom cell among them."""
    rng = np.random.default_rng(0)
    crystals = []
    for i in range(12):
        crystal = rattled((nacl(), cscl(), iron(), skewed())[i % 4], 0.05, seed=i)
        labels = {
            "energy": float(rng.normal(-3.0 * len(crystal))),
            "forces": rng.normal(size=(len(crystal), 3)),
            "stress": 0.01 * rng.normal(size=(3, 3)),
            "band_gap": float(rng.uniform(0, 5)),
            "formation_energy_per_atom": float(rng.normal()),
            "total_magnetization": float(rng.uniform(0, 3)),
            "fermi_energy": float(rng.normal(4)),
        }
        crystals.append(dataclasses.replace(crystal, id=f"c{i}", labels=labels))
    return CrystalDataset.from_crystals(crystals).write_parquet(tmp_path_factory.mktemp("table") / "table.parquet")


def run(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


RECIPES = sorted(list_recipes())
OF_EACH_KIND = (
    "masked-atoms", "crystal-twins-barlow", "deep-infomax", "atom-representation", "derivative-denoising",
    "energy-force-stress", "textbook",
)  # fmt: skip
RUNS = [
    (model, recipe) for model in NAMES for recipe in RECIPES if model in ("M3GNet", "MEGNet") or recipe in OF_EACH_KIND
]


@pytest.mark.parametrize(("model", "recipe"), RUNS)
def test_it_pretrains_and_its_export_fine_tunes(recipe, model, table, tmp_path):
    options = tmp_path / "options.yaml"
    options.write_text(yaml.safe_dump({"model_args": {**SMALL[model]}}))
    pre, fine = tmp_path / "pre", tmp_path / "fine"
    run(
        "pretrain", "--recipe", recipe, "--model", model, "--config", options, "--data", table, "--out", pre,
        "--epochs", 1, "--batch-size", 6, "--val-fraction", 0.2, "--accelerator", "cpu",
    )  # fmt: skip
    stamp = json.loads((pre / "encoder" / "model.json").read_text())["metadata"]["matgl_ssl"]
    vector = ("textbook", "textbook-labels", "textbook-slabs", "deep-infomax", "descriptors", "dssl-as-published")
    output = ("derivative-denoising", "energy-force-stress", "spring-forces")
    expected = VECTOR if recipe in vector else OUTPUT if recipe in output else "untrained"
    assert (stamp["recipe"], stamp["readout"]) == (recipe, expected)
    assert (pre / "potential").exists() == (recipe in output and model in EXTENSIVE)
    run(
        "finetune", "--init-from", pre, "--data", table, "--target", "band_gap", "--out", fine, "--epochs", 1,
        "--batch-size", 6, "--accelerator", "cpu",
    )  # fmt: skip
    run("predict", "-m", fine, "--data", table)


@pytest.mark.pyg
@pytest.mark.parametrize("recipe", ["cdssl", "conditioned-denoising", "direct-denoising", "structure-denoising"])
def test_a_recipe_of_edges_is_refused_where_there_are_none(recipe, table, tmp_path):
    with pytest.raises(ModelError, match="TensorNet has no edge vectors at its last layer"):
        pretrain(model="TensorNet", model_args=SMALL["TensorNet"], recipe=recipe, data=table, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_everything_it_sets(recipe):
    """No recipe leans on a default that may change: every pretext's arguments are written down."""
    for pretext in load_recipe(recipe)["pretexts"]:
        assert pretext.get("arguments"), pretext


def test_dropout_is_of_the_pretraining_alone(table, tmp_path, monkeypatch):
    """DSSL's recipe trains with it; what is exported, and so fine-tuned, has none."""
    recipe = load_recipe("dssl-as-published")
    seen = set()
    forward = torch.nn.Dropout.forward
    monkeypatch.setattr(
        torch.nn.Dropout, "forward", lambda self, x: (seen.add((self.p, self.training)), forward(self, x))[1]
    )
    options = {**recipe, "model_args": {**SMALL["MEGNet"], **recipe["model_args"]}, "epochs": 1, "batch_size": 6}
    done = pretrain(model="MEGNet", data=table, out=tmp_path / "run", val_fraction=0.2, accelerator="cpu", **options)
    assert (0.3, True) in seen
    assert {p for p, _ in seen} == {0.3}
    arguments = json.loads((done.encoder / "model.json").read_text())["kwargs"]
    assert not arguments.get("dropout")
