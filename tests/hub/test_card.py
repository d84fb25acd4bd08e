"""The card beside each export says what the stamp says, and its code runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from pymatgen.io.vasp import Poscar
from small_systems import SMALL

from matgl_ssl import finetune, prepare, pretrain, read_stamp
from matgl_ssl._backend import BACKEND
from matgl_ssl.crystals.demo import EMT_METALS, demo_task
from matgl_ssl.hub.card import model_card

MODEL = "M3GNet" if BACKEND == "pyg" else "MEGNet"


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> dict[str, Path]:
    """Encoder, fine-tuned model and, in the PyG backend, potential of one small run."""
    root, task = tmp_path_factory.mktemp("runs"), demo_task(60, seed=4)
    task.write_parquet(root / "metals.parquet")
    common = {"data": root / "metals.parquet", "epochs": 1, "batch_size": 16, "accelerator": "cpu"}
    arguments = {**SMALL[MODEL], "element_types": EMT_METALS}
    recipe = "derivative-denoising" if BACKEND == "pyg" else "masked-atoms"
    corpus = prepare(data=root / "metals.parquet", out=root / "corpus", license="CC-BY-4.0").out
    pre = pretrain(model=MODEL, model_args=arguments, recipe=recipe, out=root / "pre", **{**common, "data": corpus})
    tuned = finetune(init_from=pre.encoder, target="energy_per_atom", test_fraction=0.3, out=root / "tuned", **common)
    found = {"encoder": pre.encoder, "model": tuned.model}
    return found | ({"potential": pre.potential} if pre.potential else {})


def code_of(card: str) -> str:
    return re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]


KINDS = ("encoder", "model", pytest.param("potential", marks=pytest.mark.pyg))


@pytest.mark.parametrize("kind", KINDS)
def test_its_three_lines_of_code_run(exports, kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    metal = demo_task(1, seed=9)[0]
    Poscar(metal.to_structure()).write_file("POSCAR")
    code = code_of((exports[kind] / "README.md").read_text()).replace("THIS_MODEL", str(exports[kind]))
    assert len(code.splitlines()) == 3
    made: dict = {}
    exec(code, made)
    if kind == "model":
        assert "energy_per_atom = " in capsys.readouterr().out
        assert "eV/atom" in str(made["prediction"])
    elif kind == "encoder":
        assert made["vectors"].shape[0] == 1
    else:
        atoms = metal.to_structure().to_ase_atoms()
        atoms.calc = made["calculator"]
        assert atoms.get_forces().shape == (len(metal), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hub_can_read_its_metadata(exports, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = ModelCard.load(exports[kind] / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("matgl", "graph-ml")
    assert {"materials-science", "matgl_ssl", kind} <= set(card.data.tags)


def test_a_models_card_says_what_it_predicts_how_well_and_from_what(exports):
    stamp, card = read_stamp(exports["model"]), (exports["model"] / "README.md").read_text()
    metrics, data = stamp["metrics"], stamp["data"]
    low, high = metrics["mae_interval"]
    assert low < metrics["mae"] < high
    assert metrics["part"] == "test"
    assert f"{metrics['mae']:.3g} (95 % interval {low:.3g} to {high:.3g}) on {metrics['n']} crystals (test)" in card
    assert f"crystals of {data['source']} " in card
    assert data["source"].endswith("/metals.parquet")
    assert data["fingerprint"][:16] in card
    assert f"cutoff {stamp['cutoff']:g} Å" in card
    assert stamp["digest"] in card
    assert " ".join(stamp["elements"]) in card
    (result,) = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == metrics["mae"]
    for words in ("energy_per_atom in eV/atom", "Licence of the training data", "## Limits", "## How to cite"):
        assert words in card


def test_no_card_tells_where_files_lie_on_somebodys_disk(exports, tmp_path):
    for path in exports.values():
        assert str(path.parents[1]) not in (path / "README.md").read_text()
        assert str(path.parents[1]) not in (path / "model.json").read_text()


def test_elements_are_those_that_training_saw(exports):
    assert read_stamp(exports["encoder"])["elements"] == read_stamp(exports["model"])["elements"]
    assert set(read_stamp(exports["encoder"])["elements"]) <= set(EMT_METALS)
    assert read_stamp(exports["encoder"])["elements"]


@pytest.mark.parametrize(("on_hub", "datasets"), [(True, ["LeMaterial/LeMat-Bulk"]), (False, None)])
def test_data_of_the_hub_are_linked(exports, on_hub, datasets):
    data = {"source": "LeMaterial/LeMat-Bulk:compatible_pbe", "on_hub": on_hub, "fingerprint": "0"}
    card = ModelCard(model_card(read_stamp(exports["model"]) | {"data": data}))
    assert card.data.datasets == datasets


def test_a_stamp_of_an_earlier_version_has_a_card_as_well():
    stamp = {"graph_library": "pyg", "versions": {"matgl_ssl": "0.1.0", "matgl": "4.1.2"}, "references": {"fcc": 1.0}}
    card = model_card(stamp)
    assert "not recorded" in card
    assert "None" not in card


def test_the_licence_is_that_of_the_prepared_data(exports):
    licence = {kind: re.search(r"Licence of the training data \| (.*?) \|", (path / "README.md").read_text())[1]
               for kind, path in exports.items()}  # fmt: skip
    assert licence["encoder"] == "CC-BY-4.0"
    assert licence["model"] != "CC-BY-4.0"  # fine-tuned on a table that says nothing
