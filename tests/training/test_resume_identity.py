"""A resumed run is known by what is in it, in its data and in its weights; not by names, folders and times."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from small_systems import SMALL, small_model

from matgl_ssl.cli import main
from matgl_ssl.crystals import demo_task
from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.formats import signed, upgrade
from matgl_ssl.hub import save_model
from matgl_ssl.training.finetune import finetune
from matgl_ssl.training.rundir import RunDirectory

OPTIONS = {"target": "bulk_modulus", "epochs": 1, "batch_size": 8, "val_fraction": 0.2, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with data, an encoder of MatGL's elements, and a run that was started in it with relative names."""
    folder = tmp_path_factory.mktemp("made")
    task = demo_task(36, seed=1)
    task.select(range(24)).write_parquet(folder / "train.parquet")
    task.select(range(24, 36)).write_parquet(folder / "test.parquet")
    for seed in (0, 1):
        save_encoder(folder / f"encoder-{seed}", seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        start("run")
        start("other", seed=5)
    return folder


def save_encoder(path: Path, seed: int) -> Path:
    arguments = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}
    model = small_model("MEGNet", seed=seed, **arguments, element_types=elements())
    return save_model(model, path, kind="encoder", readout="untrained")


def elements() -> tuple[str, ...]:
    from matgl.config import DEFAULT_ELEMENTS

    return tuple(DEFAULT_ELEMENTS)


def start(out: str, **options):
    given = {"data": "train.parquet", "test_data": "test.parquet", "init_from": "encoder-0", **OPTIONS, **options}
    return finetune(out=out, **given)


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    folder = shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def resume(*words: str) -> None:
    assert main(["finetune", "--resume", *words]) == 0


def test_a_run_is_resumed_from_another_folder(made, tmp_path, monkeypatch):
    out = shutil.copytree(made / "run", tmp_path / "run")  # alone: what it was started from stands where it stood
    monkeypatch.chdir(tmp_path)
    resume("--out", str(out))


def test_a_project_that_was_moved_is_resumed_by_any_name_of_its_data(project, monkeypatch):
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    (project / "train.parquet").rename(project / "moved.parquet")
    resume("--out", "../run", "--data", "../moved.parquet")
    monkeypatch.chdir(project)
    resume("--out", "run")  # which it remembers
    (project / "encoder-0").rename(project / "encoder")
    resume("--out", "run", "--init-from", "./encoder")


@pytest.mark.parametrize(
    ("name", "by", "what"),
    [
        ("train.parquet", "test.parquet", "the data changed"),
        ("test.parquet", "train.parquet", "the test data changed"),
        ("encoder-0", "encoder-1", "the init_from changed"),
    ],
)
def test_what_was_replaced_under_its_name_is_refused(project, name, by, what):
    if (project / name).is_dir():
        shutil.rmtree(project / name)
    (project / by).rename(project / name)
    for source in ("train.parquet", "test.parquet"):
        if not (project / source).exists():
            shutil.copy(project / name, project / source)
    with pytest.raises(RunDirectoryError, match=what):
        finetune(out="run", data="train.parquet", resume=True)


def test_a_checkpoint_of_another_run_of_the_same_shape_is_refused(project):
    shutil.copy("other/checkpoints/last.ckpt", "run/checkpoints/last.ckpt")
    with pytest.raises(RunDirectoryError, match=r"seed differ \(seed: 5 in .*last\.ckpt, 0 in config\.yaml\)"):
        finetune(out="run", data="train.parquet", resume=True)


@pytest.mark.parametrize("change", [{"clip": 1.0}, {"num_workers": 2}])
def test_an_edited_configuration_is_refused(project, change):
    edited = yaml.safe_load(Path("run/config.yaml").read_text()) | change
    Path("run/config.yaml").write_text(yaml.safe_dump(edited, sort_keys=False))
    with pytest.raises(RunDirectoryError, match=r"config\.yaml is damaged, or was edited"):
        finetune(out="run", data="train.parquet", resume=True)
    assert finetune(config="run/config.yaml", data="train.parquet", out="anew", test_data="test.parquet").out.exists()


def test_a_configuration_of_another_run_is_refused(project):
    rewrite(clip=1.0)
    with pytest.raises(RunDirectoryError, match=r"clip differ \(clip: 10\.0 in .*last\.ckpt, 1\.0 in config\.yaml\)"):
        finetune(out="run", data="train.parquet", resume=True)


def test_a_configuration_of_another_run_is_refused_before_there_is_a_checkpoint(project):
    shutil.rmtree("run/checkpoints")
    shutil.copy("other/config.yaml", "run/config.yaml")
    with pytest.raises(RunDirectoryError, match=r"config\.yaml and environment\.json beside it belong to two runs"):
        finetune(out="run", data="train.parquet", resume=True)


def rewrite(*without: str, **options) -> None:
    """Write the run's ``config.yaml`` anew, with other options, and nothing beside it that says which it had."""
    Path("run/environment.json").unlink()
    stored = upgrade("config", yaml.safe_load(Path("run/config.yaml").read_text()), "here") | options
    stored = signed("config", {k: v for k, v in stored.items() if k not in without})
    Path("run/config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False))


def test_a_field_that_was_added_since_has_its_default(project):
    rewrite("layer_decay", "max_edges")
    finetune(out="run", data="train.parquet", resume=True)


def test_a_damaged_checkpoint_or_record_is_named(project):
    path = Path("run/checkpoints/last.ckpt")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt is damaged"):
        finetune(out="run", data="train.parquet", resume=True)
    for file in ("facts.json", "environment.json"):
        whole = Path("run", file).read_text()
        for damaged in ("{", "", "[]", whole.replace("1", "2", 1), whole.replace('"format"', '"gormat"')):
            Path("run", file).write_text(damaged)
            with pytest.raises(RunDirectoryError, match=rf"{file}(: format 2)? is (damaged|of format)"):
                finetune(out="run", data="train.parquet", resume=True)
        Path("run", file).write_text(whole)


def test_a_checkpoint_says_whose_it_is(project):
    own = torch.load("run/checkpoints/last.ckpt", weights_only=True)["matgl_ssl"]
    assert own["format"] == 1
    assert own["run"]["config"]["target"] == "bulk_modulus"
    assert set(own["run"]["facts"]) == {"data", "validation data", "test data", "init_from"}


def test_a_cluster_is_named_each_time(project):
    """Whoever answers at an address that came with somebody's run would send pickles."""
    options = yaml.safe_load(Path("run/config.yaml").read_text())
    options.pop("digest")
    options = signed("config", {**options, "cluster": "tcp://127.0.0.1:9"})
    Path("run/config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
    assert "cluster" not in RunDirectory("run").stored_config()
