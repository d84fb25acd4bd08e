"""Names of models, local and on the hub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from small_systems import small_model

import matgl_ssl.hub  # noqa: F401 - puts the module below into sys.modules
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import load_model, load_with_stamp, remote, resolve, save_model
from matgl_ssl.hub.resolve import FILES

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(small_model("MEGNet"), tmp_path_factory.mktemp("saved") / "model", readout="trained")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in place of MatGL's."""
    monkeypatch.setattr(remote, "MATGL_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def put_in_cache(cache: Path, repo: str, saved: Path) -> Path:
    """A model in the layout of the hub's cache."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(saved, snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(REVISION)
    return snapshot


def run_with(tmp_path: Path, saved: Path, *exports: str) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("model: MEGNet\n")
    for export in exports:
        shutil.copytree(saved, run / export)
    return run


def test_an_encoder_is_no_potential_and_the_reason_is_said(tmp_path, saved):
    run = run_with(tmp_path, saved, "encoder")
    with pytest.raises(ModelError, match=r"exported encoder, but no potential.*MEGNet's output is intensive"):
        resolve(run, prefer=("potential",))


def test_a_model_directory_is_itself(saved):
    assert resolve(saved) == saved
    assert resolve(str(saved)) == saved


@pytest.mark.parametrize(
    ("exports", "prefer", "taken"),
    [
        (["encoder"], ("model", "potential", "encoder"), "encoder"),
        (["encoder", "potential"], ("model", "potential", "encoder"), "potential"),
        (["encoder", "potential"], ("encoder", "potential", "model"), "encoder"),
        (["model"], ("encoder", "potential", "model"), "model"),
    ],
)
def test_a_run_directory_gives_the_export_that_is_preferred(tmp_path, saved, exports, prefer, taken):
    run = run_with(tmp_path, saved, *exports)
    assert resolve(run, prefer=prefer) == run / taken


def test_an_unfinished_run_says_so(tmp_path, saved):
    with pytest.raises(ModelError, match=r"did not finish\. Continue it with --resume"):
        resolve(run_with(tmp_path, saved))


def test_a_folder_of_something_else_says_what_was_looked_for(tmp_path):
    with pytest.raises(ModelError, match=r"neither a model directory \(model.pt, state.pt, model.json\) nor a run"):
        resolve(tmp_path)


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_model_directory_is_none(tmp_path, saved, missing):
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(ModelError, match="neither a model directory"):
        load_model(tmp_path / "model")


def test_a_misspelt_path_names_the_nearest_and_asks_no_hub(tmp_path, saved, monkeypatch):
    run = run_with(tmp_path, saved, "model")
    monkeypatch.setattr(sys.modules["matgl_ssl.hub.resolve"], "fetch", None)  # a call would be a TypeError
    with pytest.raises(ModelError, match=f"There is no model at .*Did you mean {run}"):
        resolve(tmp_path / "runn")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="Did you mean run/model"):
        resolve("run/modell")


@pytest.mark.parametrize(("name", "repo"), [("someone/MEGNet-Eg", "someone/MEGNet-Eg"), ("Eg", "materialyze/Eg")])
def test_a_hub_name_is_found_in_the_cache_without_the_network(cache, saved, name, repo):
    snapshot = put_in_cache(cache, repo, saved)
    assert resolve(name) == snapshot
    model, stamp = load_with_stamp(name)
    assert type(model).__name__ == "MEGNet"
    assert stamp["readout"] == "trained"


def test_an_unknown_hub_name_says_what_it_is_not(cache):
    with pytest.raises(ModelError, match="'no/such-model' is not a local path and not an architecture"):
        resolve("no/such-model")


def test_an_incomplete_model_in_the_cache_is_an_error(cache, saved):
    (put_in_cache(cache, "someone/half", saved) / "state.pt").unlink()
    with pytest.raises(ModelError, match="someone/half"):
        resolve("someone/half")


def test_an_instance_and_an_architecture_need_no_directory(tmp_path, monkeypatch):
    model = small_model("M3GNet")
    assert load_with_stamp(model) == (model, {})
    built, stamp = load_with_stamp("MEGNet")
    assert type(built).__name__ == "MEGNet"
    assert stamp["readout"] == "untrained"
