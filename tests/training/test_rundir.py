"""Run directories: one run each, nothing written over, resumed only by the same run."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from matgl_ssl.config import read_yaml
from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.training.config import PretrainConfig
from matgl_ssl.training.rundir import RunDirectory

CONFIG = PretrainConfig(model="MEGNet", data="crystals.parquet", epochs=3, lr=2e-3)


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "one")
    run.start(CONFIG)
    return run


def test_a_new_run_has_its_whole_configuration_and_environment(run):
    stored = yaml.safe_load((run.path / "config.yaml").read_text())
    assert set(stored) == {"format", "written_by", "digest", *PretrainConfig.model_fields} - {
        "allow_changed_environment"
    }
    assert PretrainConfig.build(read_yaml(run.path / "config.yaml")) == CONFIG
    environment = json.loads((run.path / "environment.json").read_text())
    assert {"matgl", "torch", "lightning", "numpy"} <= set(environment["packages"])
    assert environment["backend"] in ("pyg", "dgl")
    assert run.checkpoint.parent.is_dir()
    assert run.figures.is_dir()


def test_a_run_in_an_empty_directory_is_fine(tmp_path):
    RunDirectory(tmp_path).start(CONFIG)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "config.yaml"])
def test_a_directory_that_holds_anything_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"is not empty.*--out.*--resume"):
        RunDirectory(tmp_path).start(CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_no_run_directory(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(RunDirectoryError, match="file"):
        RunDirectory(path).start(CONFIG)
    assert path.read_text() == "mine"


def test_the_same_run_can_be_resumed_from_its_checkpoint_or_from_the_start(run):
    assert run.resume(CONFIG) is None
    torch.save({"weights": torch.arange(64.0)}, run.checkpoint)
    assert run.resume(CONFIG) == run.checkpoint


@pytest.mark.parametrize(
    ("option", "value"),
    [("lr", 1e-3), ("epochs", 4), ("seed", 1), ("model", "M3GNet"), ("model_args", {"dropout": 0.1})],
)
def test_a_run_with_another_option_is_refused_and_the_option_named(run, option, value):
    other = CONFIG.model_copy(update={option: value})
    with pytest.raises(RunDirectoryError) as error:
        run.resume(other)
    assert f"{option} differ" in str(error.value)
    assert repr(value) in str(error.value)
    assert repr(getattr(CONFIG, option)) in str(error.value)
    assert f"--model {run.path}" in str(error.value)


@pytest.mark.parametrize(
    ("option", "value"), [("num_workers", 4), ("checkpoint_minutes", 1.0), ("accelerator", "cpu"), ("devices", 1)]
)
def test_how_a_run_is_computed_may_change(run, option, value):
    torch.save({"weights": torch.arange(64.0)}, run.checkpoint)
    assert run.resume(CONFIG.model_copy(update={option: value})) == run.checkpoint


@pytest.mark.parametrize("make", [True, False])
def test_there_must_be_a_run_to_resume(tmp_path, make):
    path = tmp_path / "nothing"
    if make:
        path.mkdir()
    with pytest.raises(RunDirectoryError, match="no run to resume"):
        RunDirectory(path).resume(CONFIG)
    assert path.exists() == make


def test_files_are_replaced_in_one_move(run):
    run.write_json("facts.json", {"Å": 1})
    run.write_json("facts.json", {"Å": 2})
    assert json.loads((run.path / "facts.json").read_text(encoding="utf-8")) == {"Å": 2}
    assert not list(run.path.glob(".*"))
