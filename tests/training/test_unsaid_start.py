"""From which weights fine-tuning starts where nobody says so."""

from __future__ import annotations

import logging

import pytest
import torch
import yaml
from shipped_weights import NAME, ship
from small_systems import SMALL

from matgl_ssl import finetune, load_model, read_stamp
from matgl_ssl.crystals import demo_task
from matgl_ssl.training import start as module
from matgl_ssl.training.start import is_scratch, unsaid_start

OPTIONS = {"target": "energy_per_atom", "epochs": 0, "accelerator": "cpu", "test_fraction": 0.0}
NEW = {"model": "MEGNet", "model_args": SMALL["MEGNet"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return ship(tmp_path / "weights", monkeypatch)


@pytest.fixture
def task():
    return demo_task(12, seed=3)


def embedding(model):
    return load_model(model).state_dict()["embedding.layer_node_embedding.weight"]


def test_it_is_the_shipped_encoder_and_its_recipes_options(folder, task, tmp_path, caplog):
    with caplog.at_level(logging.INFO, module.__name__):
        result = finetune(data=task, out=tmp_path / "run", model="MEGNet", **OPTIONS)
    assert (
        "starts from MEGNet-textbook, which comes with matgl_ssl, layer_decay 0.7. --init-from scratch" in caplog.text
    )
    assert torch.equal(embedding(result.model), embedding(folder))
    assert read_stamp(result.model)["init_from"] == NAME
    stored = yaml.safe_load((result.out / "config.yaml").read_text())
    assert (stored["init_from"], stored["layer_decay"]) == (NAME, 0.7)
    again = finetune(data=task, out=tmp_path / "run", resume=True)
    assert torch.equal(embedding(again.model), embedding(folder))


def test_what_is_said_wins(folder, task, tmp_path, caplog):
    result = finetune(data=task, out=tmp_path / "run", model="MEGNet", layer_decay=0.3, **OPTIONS)
    assert yaml.safe_load((result.out / "config.yaml").read_text())["layer_decay"] == 0.3
    assert "layer_decay" not in caplog.text


@pytest.mark.parametrize("word", ["scratch", "none"])
def test_random_weights_can_be_asked_for(folder, task, tmp_path, word):
    result = finetune(data=task, out=tmp_path / "run", model="MEGNet", init_from=word, **OPTIONS)
    assert embedding(result.model).shape != embedding(folder).shape  # MatGL's default size
    stored = yaml.safe_load((result.out / "config.yaml").read_text())
    assert (stored["init_from"], stored["layer_decay"]) == (word, 1.0)
    assert read_stamp(result.model)["init_from"] == word
    finetune(data=task, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "given", [NEW, {"model": "M3GNet"}, {"model": "MEGNet", "node_embedding_from": "MEGNet"}, {"model": "nothing"}]
)
def test_models_without_a_shipped_encoder_start_from_random_weights(folder, given):
    assert unsaid_start(given) == {"init_from": "scratch"}


def test_nothing_is_added_to_what_was_said(folder):
    assert unsaid_start({"init_from": "runs/pre", "model": "MEGNet"}) == {}


def test_a_folder_called_scratch_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_scratch("scratch")
    (tmp_path / "scratch").mkdir()
    assert not is_scratch("scratch")


def test_a_configuration_of_an_earlier_version_keeps_its_random_weights(folder, task, tmp_path):
    config = tmp_path / "old.yaml"
    config.write_text(yaml.safe_dump({"format": 2, "target": OPTIONS["target"], "model": "MEGNet", "init_from": None}))
    result = finetune(data=task, out=tmp_path / "run", config=config, **{**OPTIONS, "epochs": 0})
    assert read_stamp(result.model)["init_from"] == "scratch"
