"""Fine-tuning as a run: its directory, its errors, and going on after an interruption."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from small_systems import SMALL

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.demo import EMT_METALS, demo_task
from matgl_ssl.errors import (
    ConfigError,
    DataError,
    MatGLSSLError,
    ModelError,
    NonFiniteError,
    NothingLeftError,
    RunDirectoryError,
)
from matgl_ssl.hub import load_with_stamp, new_model
from matgl_ssl.training.finetune import finetune

TARGET = "energy_per_atom"
ARGUMENTS = {**SMALL["MEGNet"], "nblocks": 2, "element_types": list(EMT_METALS)}
ARGUMENTS = {k: list(v) if isinstance(v, tuple) else v for k, v in ARGUMENTS.items()}
OPTIONS = {
    "target": TARGET, "model": "MEGNet", "model_args": ARGUMENTS, "epochs": 1, "batch_size": 16, "accelerator": "cpu",
    "test_fraction": 0.25, "val_fraction": 0.1,
}  # fmt: skip


EMT = new_model("MEGNet", ARGUMENTS)


@pytest.fixture(scope="module")
def task() -> CrystalDataset:
    return CrystalDataset.from_crystals([c for c in demo_task(80, seed=5) if len(c) <= 8][:40])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestDirectory:
    @pytest.fixture(scope="class")
    def out(self, task, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("finetuned")
        return finetune(data=task.write_parquet(folder / "task.parquet"), out=folder / "run", **OPTIONS).out

    def test_it_holds_what_every_run_leaves(self, out):
        names = {p.name for p in out.iterdir()}
        assert names >= {
            "config.yaml", "metrics.csv", "metrics.json", "predictions.csv", "environment.json", "skipped.json",
            "checkpoints", "figures", "model",
        }  # fmt: skip
        assert (out / "checkpoints" / "last.ckpt").exists()
        assert (out / "figures" / "parity.png").read_bytes().startswith(b"\x89PNG")
        assert json.loads((out / "environment.json").read_text())["backend"] in ("pyg", "dgl")

    def test_the_configuration_is_expanded_and_makes_the_same_run_again(self, out, tmp_path):
        config = yaml.safe_load((out / "config.yaml").read_text())
        assert config["loss"] == "mae"
        assert config["layer_decay"] == 1.0
        assert config["data"].endswith("task.parquet")
        again = finetune(config=out / "config.yaml", data=config["data"], out=tmp_path / "again")
        assert (again.out / "config.yaml").read_text() == (out / "config.yaml").read_text()
        assert (again.out / "predictions.csv").read_text() == (out / "predictions.csv").read_text()

    def test_options_win_over_the_configuration(self, out, tmp_path):
        data = yaml.safe_load((out / "config.yaml").read_text())["data"]
        again = finetune(config=out / "config.yaml", data=data, out=tmp_path / "again", epochs=0)
        assert yaml.safe_load((again.out / "config.yaml").read_text())["epochs"] == 0

    def test_scores_and_predictions_agree(self, out):
        with (out / "predictions.csv").open(newline="") as f:
            rows = list(csv.DictReader(f))
        scores = json.loads((out / "metrics.json").read_text())
        assert set(scores) == {"train", "val", "test"}
        for part, score in scores.items():
            errors = [abs(float(r["prediction"]) - float(r["target"])) for r in rows if r["split"] == part]
            assert score["n"] == len(errors)
            assert score["mae"] == pytest.approx(sum(errors) / len(errors), rel=1e-6)

    def test_the_stamp_says_what_the_model_predicts(self, out):
        _, stamp = load_with_stamp(out)
        assert stamp["kind"] == "model"
        assert stamp["readout"] == "trained"
        assert stamp["target"] == {"name": TARGET, "unit": "eV/atom", "transform": None, "extensive": False}
        assert stamp["init_from"] == "scratch"
        assert stamp["n_labels"] == 27

    def test_the_configuration_names_the_architecture_that_was_loaded(self, out, task, tmp_path):
        again = finetune(data=task, out=tmp_path / "again", init_from=out, target=TARGET, epochs=0, accelerator="cpu")
        assert yaml.safe_load((again.out / "config.yaml").read_text())["model"] == "MEGNet"


class TestAwkwardTables:
    def test_ids_with_commas_and_quotes_survive(self, task, tmp_path):
        ids = [f'a,"b" {i}' for i in range(len(task))]
        odd = CrystalDataset.from_crystals(dataclasses.replace(c, id=i) for c, i in zip(task, ids, strict=True))
        result = finetune(data=odd, out=tmp_path / "run", **{**OPTIONS, "epochs": 0})
        with (result.out / "predictions.csv").open(newline="") as f:
            assert sorted(r["id"] for r in csv.DictReader(f)) == sorted(ids)

    def test_a_single_test_crystal_leaves_valid_json(self, task, tmp_path):
        options = {**OPTIONS, "epochs": 0, "test_data": task.rows([0])}
        result = finetune(data=task.select(range(1, 20)), out=tmp_path / "run", **options)
        scores = json.loads((result.out / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert scores["test"]["r2"] is None

    def test_without_test_crystals_the_validation_scores_are_returned(self, task, tmp_path):
        result = finetune(data=task, out=tmp_path / "run", **{**OPTIONS, "epochs": 0, "test_fraction": 0.0})
        assert result.metrics["mae"] == json.loads((result.out / "metrics.json").read_text())["val"]["mae"]


class TestMedian:
    """A model that a constant beats says so."""

    def test_one_that_a_constant_beats_warns(self, task, tmp_path, caplog):
        same = [dataclasses.replace(c, labels={TARGET: 1.0 + (i == 0)}) for i, c in enumerate(task)]
        tested = [dataclasses.replace(c, labels={TARGET: 1.0}) for c in task.rows([0, 1])]
        finetune(data=CrystalDataset.from_crystals(same), out=tmp_path / "run", **{**OPTIONS, "test_data": tested})
        assert "The test MAE of energy_per_atom" in caplog.text
        assert "is not below the 0 of predicting the training labels' median" in caplog.text

    def test_one_that_has_learned_does_not(self, task, tmp_path, caplog):
        finetune(data=task, out=tmp_path / "run", **{**OPTIONS, "epochs": 60, "lr": 1e-2, "test_data": task})
        assert "median" not in caplog.text

    def test_predictions_that_are_no_numbers_make_no_model(self, task, tmp_path):
        """The last step of a run is followed by no loss that could tell."""
        options = {**OPTIONS, "lr": 1e8, "warmup": 0.0, "batch_size": 64}
        with pytest.raises(NonFiniteError, match="Try a smaller one"):
            finetune(data=task, out=tmp_path / "run", **options)
        assert not (tmp_path / "run" / "model").exists()


class TestErrors:
    """One clear error each, before anything is written."""

    def test_where_no_crystal_is_usable_there_is_no_run(self, task, tmp_path):
        far = [dataclasses.replace(c, lattice=30.0 * np.eye(3), frac_coords=0.01 * c.frac_coords) for c in task]
        with pytest.raises(NothingLeftError, match=r"nothing left of \d+ crystals"):
            finetune(data=far, out=tmp_path / "run", **OPTIONS)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"target": "energy_peratom"}, DataError, "no column 'energy_peratom'.*Did you mean 'energy_per_atom'"),
            ({"target": "formula"}, DataError, "column 'formula' .*expected: one number"),
            ({"target": "forces"}, DataError, "column 'forces' .*expected: one number"),
            ({"target": "nothing"}, DataError, "No crystal of .* has a value of 'nothing'"),
            ({"transform": "log10"}, DataError, r"log10 needs positive labels; \d+ are not: emt-"),
            ({"split_column": "few", "fold": 5}, DataError, "few = 5; there are 0, 1"),
            ({"patience": 3, "val_fraction": 0.0}, ConfigError, "need validation crystals"),
            ({"selection": "best", "val_fraction": 0.0}, ConfigError, "need validation crystals"),
            ({"patience": 3, "n_train": 1}, ConfigError, "need validation crystals"),
            ({"freeze": 3}, ConfigError, "freeze 3: the encoder has layers 0 to 2"),
            ({"model": "runs/pre"}, ConfigError, "no architecture.*--init-from"),
            ({"init_from": EMT, "model_args": {}, "model": "M3GNet"}, ConfigError, "--init-from is a MEGNet"),
            ({"init_from": EMT, "model_args": {"cutoff": 6.0}}, ConfigError, "cutoff of the model that is loaded is"),
            ({"extensive": True}, ModelError, "MEGNet's output is intensive.*--model M3GNet"),
            ({"init_from": "nowhere/at all"}, ModelError, "There is no model at nowhere"),
            ({"epoch": 3}, ConfigError, "Did you mean 'epochs'"),
            ({"resume": True}, RunDirectoryError, "no run to resume"),
        ],
    )
    def test_each_names_the_fix_and_leaves_no_directory(self, task, tmp_path, options, error, message):
        labelled = CrystalDataset.from_crystals(
            dataclasses.replace(c, labels={**c.labels, "nothing": None if i else float("nan"), "few": i % 2})
            for i, c in enumerate(task)
        )
        with pytest.raises(error, match=message) as caught:
            finetune(data=labelled, out=tmp_path / "run", **{**OPTIONS, **options})
        assert isinstance(caught.value, MatGLSSLError)
        assert not (tmp_path / "run").exists()

    def test_test_labels_are_checked_before_training_too(self, task, tmp_path):
        bad = [dataclasses.replace(c, labels={"bulk_modulus": -1.0}) for c in task.rows([0, 1])]
        options = {**OPTIONS, "target": "bulk_modulus", "transform": "log10", "test_data": bad}
        with pytest.raises(DataError, match="2 are not"):
            finetune(data=task, out=tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()

    def test_a_directory_in_use_is_refused_and_left_as_it_is(self, task, tmp_path):
        out = tmp_path / "run"
        finetune(data=task, out=out, **OPTIONS)
        (out / "notes.txt").write_text("mine")
        before = tree(out)
        with pytest.raises(RunDirectoryError, match="not empty"):
            finetune(data=task, out=out, **OPTIONS)
        assert tree(out) == before

    def test_resume_with_another_option_is_refused(self, task, tmp_path):
        out = finetune(data=task, out=tmp_path / "run", **OPTIONS).out
        with pytest.raises(RunDirectoryError, match="lr differ"):
            finetune(data=task, out=out, resume=True, lr=0.5)

    def test_resume_on_other_data_is_refused(self, task, tmp_path):
        out = finetune(data=task, out=tmp_path / "run", **OPTIONS).out
        moved = [dataclasses.replace(crystal, frac_coords=crystal.frac_coords + 0.25) for crystal in task]
        corrected = [dataclasses.replace(c, labels={**c.labels, TARGET: c.labels[TARGET] + 1e-3}) for c in task]
        for other in (list(task)[:30], moved, corrected):
            with pytest.raises(RunDirectoryError, match="data changed"):
                finetune(data=CrystalDataset.from_crystals(other), out=out, resume=True)
        same = finetune(data=CrystalDataset.from_crystals(list(task)), out=out, resume=True)
        assert same.out == out

    def test_resume_of_a_run_from_a_model_in_memory_asks_for_that_model(self, task, tmp_path):
        torch.manual_seed(0)
        model = new_model("MEGNet", ARGUMENTS)
        options = {k: v for k, v in OPTIONS.items() if k not in ("model", "model_args")}
        result = finetune(data=task, out=tmp_path / "run", init_from=model, **options)
        weights = (result.model / "state.pt").read_bytes()
        with pytest.raises(ConfigError, match="resume it in Python, with the same init_from"):
            finetune(data=task, out=tmp_path / "run", resume=True)
        again = finetune(data=task, out=tmp_path / "run", resume=True, init_from=model)
        assert (again.model / "state.pt").read_bytes() == weights


RESUME = """
import json, logging, os, signal, sys
import torch
torch.set_num_threads(1)
from matgl_ssl.errors import TrainingInterrupted
from matgl_ssl.training.finetune import FinetuningModule, finetune

score = FinetuningModule.score
stop_at = None

def score_and_signal(self, batches):
    global stop_at
    if self.training and self.global_step == stop_at:
        stop_at = None
        os.kill(os.getpid(), signal.SIGTERM)
    return score(self, batches)

FinetuningModule.score = score_and_signal
for run in json.loads(sys.argv[1]):
    stop_at = run.get("stop_at")
    try:
        finetune(**run["options"])
    except TrainingInterrupted as err:
        print("exit", err.exit_code)
    else:
        print("exit 0")
"""


class TestResume:
    """Stopped by SIGTERM and resumed, a run ends with the same bits; 24 crystals to train on, 3 steps an epoch."""

    SCENARIOS: ClassVar = {
        "in the middle of an epoch": ({}, 4),
        "at an epoch's last batch": ({}, 5),
        "in the epoch that patience ends": ({"lr": 1e-12, "patience": 2, "epochs": 9}, 8),
    }  # fmt: skip

    @pytest.fixture(scope="class")
    def runs(self, task, tmp_path_factory) -> tuple[Path, list[str]]:
        root = tmp_path_factory.mktemp("resume")
        data = str(task.write_parquet(root / "task.parquet"))
        options = {
            **OPTIONS, "data": data, "epochs": 4, "batch_size": 8, "lr": 0.03, "log_every": 1, "val_fraction": 0.2,
            "selection": "best", "patience": 3, "model_args": {**ARGUMENTS, "dropout": 0.1},
        }  # fmt: skip
        torch.manual_seed(1)
        from matgl_ssl.hub import save_model

        encoder = save_model(new_model("MEGNet", ARGUMENTS), root / "encoder", kind="encoder", readout="untrained")
        plan = []
        for name, (changes, step) in self.SCENARIOS.items():
            whole, stopped = str(root / f"{name}, whole"), str(root / name)
            plan += [
                {"options": {**options, **changes, "out": whole}},
                {"options": {**options, **changes, "out": stopped}, "stop_at": step},
                {"options": {"data": data, "out": stopped, "resume": True}},  # nothing else has to be said again
            ]
        tuned = {**options, "init_from": str(encoder), "model_args": {}, "val_data": data, "test_data": data}
        plan += [
            {"options": {**tuned, "out": str(root / "tuned, whole")}},
            {"options": {**tuned, "out": str(root / "tuned")}, "stop_at": 4},
            {"options": {"data": data, "out": str(root / "tuned"), "resume": True}},
            # A run that is over, patience included, stays over.
            {"options": {"data": data, "out": str(root / "in the epoch that patience ends, whole"), "resume": True}},
        ]
        done = subprocess.run(
            [sys.executable, "-c", RESUME, json.dumps(plan)], capture_output=True, text=True, check=False, timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return root, [line for line in done.stdout.splitlines() if line.startswith("exit")]

    @pytest.mark.parametrize("name", [*SCENARIOS, "tuned"])
    def test_a_run_ends_as_if_nobody_had_stopped_it(self, runs, name):
        root, codes = runs
        assert codes == ["exit 0", "exit 143", "exit 0"] * (len(self.SCENARIOS) + 1) + ["exit 0"]
        whole, stopped = root / f"{name}, whole", root / name
        expected, found = (torch.load(out / "model" / "state.pt", weights_only=True) for out in (whole, stopped))
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[k]) for k, value in expected.items())
        assert (stopped / "predictions.csv").read_text() == (whole / "predictions.csv").read_text()
        checkpoints = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (whole, stopped)]
        assert len({c["global_step"] for c in checkpoints}) == 1
        weights = [
            torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for out in (whole, stopped)
        ]
        assert all(torch.equal(value, weights[1][k]) for k, value in weights[0].items())
        scores = [
            {k: v for k, v in checkpoint["callbacks"].items() if k.startswith(("Patience", "EarlyStopping"))}
            for checkpoint in checkpoints
        ]
        assert scores[0]
        assert str(scores[0]) == str(scores[1])

    def test_patience_really_ended_it(self, runs):
        root, _ = runs
        with (root / "in the epoch that patience ends" / "metrics.csv").open(newline="") as f:
            assert [row["epoch"] for row in csv.DictReader(f) if row["epoch"]] == ["0", "1", "2"]
