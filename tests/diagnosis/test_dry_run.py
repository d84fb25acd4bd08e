"""``--dry-run`` says what a run does, from real steps, and writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_systems import SMALL, nacl

from matgl_ssl.cli import main
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.tables import cache_directory

SHORT = ["--accelerator", "cpu", "--epochs", "2", "--batch-size", "8", "--model", "MEGNet", "--model-args",
         json.dumps({**SMALL["MEGNet"], "nblocks": 1})]  # fmt: skip


@pytest.fixture
def table(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    crystals = []
    for i in range(40):  # four formulas
        numbers = np.where(nacl().numbers == 11, (11, 55)[i % 2], (17, 8)[i // 2 % 2])
        lattice = nacl().lattice * rng.uniform(1.0, 1.15)
        crystals.append(replace(nacl(), numbers=numbers, lattice=lattice, id=f"s{i}", labels={"gap": float(i)}))
    far = replace(nacl(), lattice=nacl().lattice * 20, id="far", labels={"gap": 1.0})
    return CrystalDataset.from_crystals([*crystals, far]).write_parquet(tmp_path / "table.parquet")


def planned(capsys, *words) -> dict:
    """The plan of a command as JSON."""
    assert main([*map(str, words), "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_pretrain(table, tmp_path, capsys):
    words = ["pretrain", "--data", table, "--recipe", "masked-atoms", "--out", tmp_path / "pre", *SHORT]
    plan = planned(capsys, *words)
    assert plan["crystals"] == {"train": 38, "validate": 2}
    assert sum(plan["left_out"].values()) == 1
    assert (plan["epochs"], plan["batches_per_epoch"], plan["steps"]) == (2, 5, 10)
    assert 0 < plan["train_seconds"][0] <= plan["train_seconds"][1]
    assert plan["memory_bytes"] > 50e6
    assert f"{tmp_path}/pre/encoder/" in plan["writes"]
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]
    assert main([*map(str, words), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "38 to train, 2 to validate" in text
    assert "2 epochs of 5 batches, 10 steps" in text


def test_the_batches_are_those_of_the_run(table, tmp_path, capsys):
    words = ["pretrain", "--data", table, "--out", tmp_path / "pre", *SHORT]
    plan = planned(capsys, *words)
    assert main([*map(str, words)]) == 0
    rows = (tmp_path / "pre" / "metrics.csv").read_text().splitlines()
    last = int(rows[-1].split(",")[rows[0].split(",").index("step")])
    assert last in (plan["steps"] - 1, plan["steps"])


def test_targets_are_timed_on_some_crystals_and_not_cached(table, tmp_path, capsys):
    before = {*cache_directory().rglob("targets-*")}
    plan = planned(capsys, "pretrain", "--data", table, "--recipe", "textbook", "--out", tmp_path / "o", *SHORT)
    assert plan["prepare_seconds"] > 0
    assert {*cache_directory().rglob("targets-*")} == before


def test_finetune(table, tmp_path, capsys):
    words = ["finetune", "--data", table, "--target", "gap", "--split", "random", "--test-fraction", "0.25"]
    plan = planned(capsys, *words, "--out", tmp_path / "tuned", *SHORT)
    assert sum(plan["crystals"].values()) == 40
    assert plan["crystals"]["test"] > 0
    assert plan["steps"] == 2 * plan["batches_per_epoch"]
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("more", [["--resume"], ["--config", "none.yaml"]])
def test_what_is_wrong_is_the_error_of_the_run(table, tmp_path, more, capsys):
    command = ["finetune", "--data", str(table), "--target", "gap", "--out", str(tmp_path / "o"), "--dry-run", *more]
    assert main(command) == 2
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    command = ["pretrain", "--data", str(table), "--out", str(tmp_path / "used"), "--dry-run"]
    assert main(command) == 6


def test_fit(table, tmp_path, capsys):
    plan = planned(capsys, "fit", "--data", table, "--target", "gap", "--out", tmp_path / "fit", "--encoders", "[]")
    assert plan["labels"]["gap"] >= 40
    assert plan["descriptor_seconds"] > 0
    assert "trees on descriptors" in plan["learners"]
    assert not (tmp_path / "fit").exists()
