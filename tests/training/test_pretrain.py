"""Pretraining as a user runs it: what it leaves behind, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import signal
from pathlib import Path

import matgl
import numpy as np
import pytest
import torch
import yaml
from small_systems import EXTENSIVE, NAMES, SMALL, cscl, iron, nacl, skewed, small_model

from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal, CrystalDataset, Finding
from matgl_ssl.errors import (
    ConfigError,
    DataError,
    ModelError,
    NonFiniteError,
    RunDirectoryError,
)
from matgl_ssl.hub import read_stamp
from matgl_ssl.hub.stamp import OUTPUT
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.training.pretrain import PretrainingModule, pretrain

RUNS = [(m, r) for m in NAMES for r in ("masked-atoms", "derivative-denoising")]


def crystals(n: int = 12) -> list[Crystal]:
    return [dataclasses.replace((skewed(), cscl(), iron(), nacl())[i % 4], id=f"c{i}") for i in range(n)]


def dataset(n: int = 12) -> CrystalDataset:
    return CrystalDataset.from_crystals(crystals(n))


def arguments(name: str, **changes) -> dict:
    return {**SMALL[name], **changes}


def run(tmp_path: Path, name: str = "MEGNet", **options):
    given = {
        "model": name, "model_args": arguments(name), "epochs": 1, "batch_size": 4, "val_fraction": 0.2,
        "log_every": 1, "accelerator": "cpu", "data": dataset(), "out": tmp_path / "run",
    }  # fmt: skip
    return pretrain(**{**given, **options})


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def finished(request, tmp_path_factory):
    name, recipe = request.param
    modes = []
    score = PretrainingModule.score

    def watch(self, batches):
        modes.append(torch.are_deterministic_algorithms_enabled())
        return score(self, batches)

    PretrainingModule.score = watch
    torch.set_num_threads(1)
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        result = run(tmp_path_factory.mktemp("pretrain"), name, recipe=recipe)
    finally:
        PretrainingModule.score = score
    return name, recipe, result, modes, handlers


def test_a_run_leaves_the_promised_files(finished):
    name, recipe, result, *_ = finished
    config = yaml.safe_load((result.out / "config.yaml").read_text())
    assert config["model"] == name
    assert config["recipe"] == recipe
    assert config["pretexts"][0]["name"] == recipe
    for file in ("metrics.csv", "environment.json", "checkpoints/last.ckpt", "encoder/model.json", "skipped.json"):
        assert (result.out / file).exists(), file
    assert result.encoder == result.out / "encoder"


def test_every_metric_of_the_run_is_in_the_log(finished):
    _, recipe, result, *_ = finished
    with (result.out / "metrics.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    last = rows[-1]
    for column in (
        "loss",
        f"{recipe}/loss",
        "lr",
        "train_loss",
        "val_loss",
        "collapse_std",
        "collapse_rank",
        "collapse_structure",
        "seconds",
        "waiting",
    ):
        assert np.isfinite(float(last[column])), column
    assert last["epoch"] == "0"


def test_the_encoder_is_a_plain_matgl_model(finished):
    name, recipe, result, *_ = finished
    model = matgl.load_model(result.encoder)
    assert type(model) is getattr(matgl.models, name)
    trained = torch.load(result.out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        assert torch.equal(value, trained[f"encoder.model.{key}"]), key
    stamp = json.loads((result.encoder / "model.json").read_text())["metadata"]
    assert stamp["matgl_ssl"]["readout"] == (OUTPUT if recipe == "derivative-denoising" else "untrained")


def test_a_sum_over_atoms_that_learned_an_energy_is_exported_as_a_potential_and_no_other_is(finished):
    name, recipe, result, *_ = finished
    if name in EXTENSIVE and recipe == "derivative-denoising":
        potential = matgl.load_model(result.potential)
        assert isinstance(potential, Potential)
        assert not potential.model.is_intensive
        assert "not eV" in (result.potential / "model.json").read_text()
    else:
        assert result.potential is None
        assert not (result.out / "potential").exists()


def test_training_changes_the_encoder(finished):
    name, recipe, result, *_ = finished
    trained = matgl.load_model(result.encoder)
    energy = {"is_intensive": False} if name in EXTENSIVE and recipe == "derivative-denoising" else {}
    fresh = pretrain_without_steps(result.out.parent / "fresh", name, recipe)
    assert bool(getattr(trained, "is_intensive", True)) != bool(energy)
    changed = [k for k, v in fresh.state_dict().items() if not torch.equal(v, trained.state_dict()[k])]
    assert any("layers" in k or "blocks" in k for k in changed)


def pretrain_without_steps(path: Path, name: str, recipe: str):
    result = pretrain(
        model=name, model_args=arguments(name), recipe=recipe, epochs=0, data=dataset(), out=path, accelerator="cpu"
    )
    return matgl.load_model(result.encoder)


def test_runs_are_deterministic_on_the_cpu_and_the_setting_is_given_back(finished):
    """Several threads add in any order otherwise, and a resumed run would differ in its last bits."""
    *_, modes, _ = finished
    assert modes
    assert all(modes)
    assert not torch.are_deterministic_algorithms_enabled()


def test_signal_handlers_are_given_back(finished):
    *_, handlers = finished
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_equal_runs_are_equal_and_another_seed_is_not(tmp_path):
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = run(tmp_path, out=tmp_path / name, seed=seed)
        states.append(torch.load(result.encoder / "state.pt", weights_only=True))
    same = [all(torch.equal(states[0][k], other[k]) for k in states[0]) for other in states[1:]]
    assert same == [True, False]


def test_a_model_instance_is_trained_in_a_copy(tmp_path):
    model = small_model("MEGNet").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    result = run(tmp_path, model=model, model_args={})
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not getattr(model, "feature_dict", None)
    trained = matgl.load_model(result.encoder).state_dict()
    # Far less than from the mean of other weights: the run started from the ones given.
    assert not all(torch.equal(before[k], trained[k]) for k in before)
    assert all((before[k] - trained[k]).abs().max() < 0.05 for k in before if before[k].is_floating_point())


def test_exports_have_no_dropout(tmp_path):
    result = run(tmp_path, model_args=arguments("MEGNet", dropout=0.2))
    model = matgl.load_model(result.encoder).train()
    drops = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert not any(drops)
    structure = skewed().to_structure()
    with torch.no_grad():
        assert torch.equal(model.predict_structure(structure), model.predict_structure(structure))


def test_options_in_a_file_give_way_to_options_in_the_call(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("epochs: 0\nseed: 5\nlr: 0.5\n")
    given = {"model": "MEGNet", "model_args": arguments("MEGNet"), "data": dataset(), "accelerator": "cpu"}
    result = pretrain(**given, out=tmp_path / "run", config=config, lr=0.25)
    stored = yaml.safe_load((result.out / "config.yaml").read_text())
    assert (stored["epochs"], stored["seed"], stored["lr"]) == (0, 5, 0.25)
    assert stored["batch_size"] == 64  # the recipe's


def test_a_run_does_without_its_recipes_file(tmp_path):
    """Its own configuration is whole: to go on with it, and to do it again."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("pretexts: [{name: masked-atoms, arguments: {fraction: 0.3}}]\nlr: 0.002\n")
    first = run(tmp_path, recipe=str(mine), epochs=1)
    mine.unlink()
    run(tmp_path, epochs=1, resume=True, recipe=str(mine))
    again = run(tmp_path, config=first.out / "config.yaml", out=tmp_path / "again", recipe=str(mine))
    stored = [yaml.safe_load((r.out / "config.yaml").read_text()) for r in (first, again)]
    assert stored[0]["pretexts"] == stored[1]["pretexts"]
    assert stored[1]["lr"] == 0.002
    with pytest.raises(ConfigError, match="No configuration file"):
        run(tmp_path, recipe=str(mine), out=tmp_path / "third")


def test_pretexts_go_under_no_other_recipes_name(tmp_path):
    first = run(tmp_path, recipe="direct-denoising", epochs=0)
    with pytest.raises(ConfigError, match=r"pretexts of its own \(direct-denoising\).*--recipe masked-atoms"):
        run(tmp_path, config=first.out / "config.yaml", recipe="masked-atoms", out=tmp_path / "second")
    given = {"model": "MEGNet", "model_args": arguments("MEGNet"), "data": dataset(), "accelerator": "cpu", "epochs": 0}
    own = pretrain(**given, out=tmp_path / "own", pretexts=[{"name": "contrast"}])
    stamp = read_stamp(own.out)
    assert (stamp["recipe"], stamp["pretexts"]) == ("own", ["contrast"])
    again = pretrain(**{**given, "model": "MEGNet"}, out=tmp_path / "again", config=own.out / "config.yaml")
    assert read_stamp(again.out)["pretexts"] == ["contrast"]


@pytest.mark.parametrize("options", [{}, {"max_atoms": 100}, {"n_crystals": 8}, {"exclude_formulas_of": "dataset"}])
def test_what_the_reader_left_out_is_told_whatever_else_is_left_out(tmp_path, options, caplog):
    if "exclude_formulas_of" in options:
        options = {
            "exclude_formulas_of": str(CrystalDataset.from_crystals([iron()]).write_parquet(tmp_path / "fe.parquet"))
        }
    rejected = [Finding("broken", "unreadable", "broken: UnicodeDecodeError")]
    data = CrystalDataset.from_crystals(crystals(), rejected=rejected)
    result = run(tmp_path, data=data, epochs=0, out=tmp_path / "run", **options)
    assert "crystals are left out: 1 unreadable; for example broken: UnicodeDecodeError" in caplog.text
    assert "UnicodeDecodeError" in (result.out / "skipped.json").read_text()


def test_bad_crystals_are_left_out_and_written_down(tmp_path):
    bad = Crystal(np.array([17, 17]), np.zeros((2, 3)), 4.0 * np.eye(3), id="coincident")
    foreign = Crystal(np.array([36]), np.zeros((1, 3)), 3.0 * np.eye(3), id="krypton")
    data = CrystalDataset.from_crystals([*crystals(), bad, foreign])
    result = run(tmp_path, data=data, epochs=0)
    skipped = (result.out / "skipped.json").read_text()
    assert "coincident" in skipped
    assert "krypton" in skipped
    assert "c3" not in json.dumps(json.loads(skipped).get("skipped", skipped))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recipe": "masked-atom"}, ConfigError, "Did you mean 'masked-atoms'"),
        ({"model": "M3GNett"}, ModelError, "M3GNett"),
        ({"model_args": {"nblock": 2}}, ConfigError, "Did you mean 'nblocks'"),
        ({"epoch": 3}, ConfigError, "Did you mean 'epochs'"),
        ({"lr": -1.0}, ConfigError, "lr"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"pretexts": [{"name": "jigsaw"}]}, ConfigError, "jigsaw"),
        ({"pretexts": [{"name": "masked-atoms", "arguments": {"share": 0.5}}]}, ConfigError, "share"),
        ({"pretexts": [{"name": "masked-atoms"}, {"name": "masked-atoms"}]}, ConfigError, "once"),
        ({"pretexts": []}, ConfigError, "names no pretexts"),
        ({"data": "nowhere.parquet"}, DataError, "nowhere.parquet"),
        ({"data": ""}, DataError, "No data"),
        ({"config": "nowhere.yaml"}, ConfigError, "nowhere.yaml"),
        ({"max_atoms": 1, "n_crystals": 1}, DataError, "at least two crystals"),
        ({"devices": 0}, ConfigError, "devices"),
        ({"data": [nacl(), skewed()], "max_atoms": 1}, DataError, "leaves none of 2 crystals"),
        ({"model": small_model("MEGNet"), "model_args": {"cutoff": 9.0}}, ConfigError, "cutoff of the model that is"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_a_mistake_is_one_clear_error_and_leaves_no_run(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "run" / "encoder").exists()
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_an_intensive_m3gnet_keeps_its_encoder_and_gets_a_readout_that_sums(tmp_path):
    model = small_model("M3GNet")
    result = run(tmp_path, model=model, model_args={}, recipe="derivative-denoising", epochs=0)
    assert model.is_intensive
    exported = matgl.load_model(result.potential).model
    assert not exported.is_intensive
    kept = [k for k in model.state_dict() if not k.startswith(("readout.", "final_layer."))]
    assert len(kept) > 20
    assert all(torch.equal(model.state_dict()[k], exported.state_dict()[k]) for k in kept)


def test_a_directory_in_use_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match="not empty"):
        run(tmp_path)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.fixture(scope="module")
def resumable(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("resumable"), seed=2).out


def test_resuming_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="no run to resume"):
        run(tmp_path, resume=True)


def test_resuming_with_another_option_names_it(resumable):
    with pytest.raises(RunDirectoryError, match=r"lr differ \(lr: 0.001 there, 0.1 here\)"):
        run(resumable.parent, out=resumable, resume=True, seed=2, lr=0.1)


def test_resuming_on_other_data_is_refused(resumable):
    strained = CrystalDataset.from_crystals([dataclasses.replace(c, lattice=1.01 * c.lattice) for c in crystals()])
    for other in (dataset(8), strained):
        with pytest.raises(RunDirectoryError, match="the data changed"):
            run(resumable.parent, out=resumable, resume=True, seed=2, data=other)


def test_resuming_a_finished_run_changes_nothing(resumable):
    files = ("metrics.csv", "config.yaml", "encoder/state.pt")
    before = {f: (resumable / f).read_bytes() for f in files if f != "encoder/state.pt"}
    weights = torch.load(resumable / "encoder" / "state.pt", weights_only=True)
    result = run(resumable.parent, out=resumable, resume=True, seed=2)
    again = torch.load(result.encoder / "state.pt", weights_only=True)
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert {f: (resumable / f).read_bytes() for f in before} == before


def poison(monkeypatch, step: int, how: str) -> None:
    """Make the loss, or only its gradient, NaN at a step."""
    score = PretrainingModule.score

    def poisoned(self, batches):
        loss, metrics = score(self, batches)
        if self.global_step == step and self.training:
            if how == "loss":
                loss = loss * float("nan")
            else:  # sqrt has an infinite slope at zero
                loss = loss + torch.sqrt((self.encoder.mask_token * 0).sum()).nan_to_num()
        return loss, metrics

    monkeypatch.setattr(PretrainingModule, "score", poisoned)


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_the_run_and_names_the_crystals(tmp_path, monkeypatch, how):
    whole = run(tmp_path, out=tmp_path / "whole", epochs=2)
    poison(monkeypatch, 4, how)
    with pytest.raises(NonFiniteError, match=r"Step 4: the (loss|gradient's norm) is (nan|inf)") as error:
        run(tmp_path, epochs=2)
    assert error.value.exit_code != 0
    incident = json.loads((tmp_path / "run" / "incidents" / "step-4.json").read_text())
    assert incident["step"] == 4
    assert incident["epoch"] == 1
    assert len(incident["ids"]) == 4
    assert set(incident["ids"]) <= {f"c{i}" for i in range(12)}
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3  # the first epoch's
    assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values() if v.is_floating_point())
    assert not (tmp_path / "run" / "encoder").exists()

    monkeypatch.undo()
    repaired = run(tmp_path, epochs=2, resume=True)
    states = [torch.load(r.encoder / "state.pt", weights_only=True) for r in (whole, repaired)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_constant_encoder_is_warned_of(tmp_path, monkeypatch, caplog):
    score = PretrainingModule.score

    def collapsed(self, batches):
        result = score(self, batches)
        self.crystal_vectors = torch.ones(len(batches[0]), 4)
        return result

    monkeypatch.setattr(PretrainingModule, "score", collapsed)
    with caplog.at_level(logging.WARNING, logger="matgl_ssl"):
        run(tmp_path)
    assert any("Representation collapse" in record.getMessage() for record in caplog.records)


def test_a_mixture_trains_with_its_weights(tmp_path):
    result = run(
        tmp_path,
        pretexts=[
            {"name": "masked-atoms", "weight": 0.5, "arguments": {"target": "group-period"}},
            {"name": "derivative-denoising", "weight": 2.0},
        ],
    )
    with (result.out / "metrics.csv").open() as f:
        row = next(csv.DictReader(f))
    total = 0.5 * float(row["masked-atoms/loss"]) + 2.0 * float(row["derivative-denoising/loss"])
    assert float(row["loss"]) == pytest.approx(total, rel=1e-5)


def test_crystals_can_be_chosen_by_size_number_and_formula(tmp_path, monkeypatch):
    seen = []
    forward = MaskedAtoms.forward

    def watch(self, features, batch):
        seen.extend(batch["masked"].ids)
        return forward(self, features, batch)

    monkeypatch.setattr(MaskedAtoms, "forward", watch)
    other = tmp_path / "task.parquet"
    CrystalDataset.from_crystals([cscl()]).write_parquet(other)
    run(tmp_path, max_atoms=6, exclude_formulas_of=str(other))
    assert {int(i[1:]) % 4 for i in seen} == {0, 2}  # skewed and iron: neither CsCl nor the cell of 8
    seen.clear()
    run(tmp_path, out=tmp_path / "few", n_crystals=6)
    assert len(set(seen)) == 6
