"""Two processes with batch B train what one process trains with batch 2B, and stop, resume and die as one."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_systems import cscl, iron, nacl, rattled, skewed, small_model, supercell

import matgl_ssl
from matgl_ssl import list_recipes
from matgl_ssl._backend import BACKEND
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, RunDirectoryError
from matgl_ssl.hub import save_model

RANKS = Path(__file__).with_name("ranks.py")
CLOCK = {"seconds", "structures_per_second", "waiting"}
# dssl-as-published has dropout, which each process draws for itself: two processes are another run than one.
RECIPES = sorted({*list_recipes()} - {"dssl-as-published"})
if BACKEND == "dgl":  # processes share tensors, which know no graph library
    RECIPES = ["energy-force-stress", "intrinsic", "masked-atoms", "textbook"]
RUNS = [
    *(f"MEGNet {recipe}" for recipe in RECIPES),
    *(f"M3GNet {recipe}" for recipe in ("dssl", "derivative-denoising", "crystal-twins-barlow")),
]


def options(root: Path, name: str) -> dict[str, Any]:
    """9 crystals to train on and 5 held out: batches of 4, 4 and 1, so that one process has none of every third."""
    model, recipe = name.split()
    return {
        "data": str(root / "table.parquet"), "model": str(root / model), "recipe": recipe, "epochs": 7,
        "val_fraction": 0.36, "accelerator": "cpu", "log_every": 1, "seed": 1, "lr": 1e-4,
    }  # fmt: skip


def labelled() -> CrystalDataset:
    """Crystals with every label, each of several atoms: where a gradient is zero but for rounding, AdamW takes whole
    steps, as on the element of a crystal of one atom whose two views are the same."""
    kinds = (nacl(), supercell(cscl(), (2, 1, 1)), supercell(iron(), (2, 2, 1)), skewed())
    rng = np.random.default_rng(0)
    crystals = []
    for i in range(14):
        crystal = rattled(kinds[i % 4], 0.1, seed=i)
        labels = {
            "energy": float(rng.normal(-3.0 * len(crystal))),
            "forces": rng.normal(size=(len(crystal), 3)),
            "stress": 0.01 * rng.normal(size=(3, 3)),
            **{k: float(rng.uniform(0, 5)) for k in (
                "band_gap", "formation_energy_per_atom", "total_magnetization", "fermi_energy")},
        }  # fmt: skip
        crystals.append(dataclasses.replace(crystal, id=f"c{i}", labels=labels))
    return CrystalDataset.from_crystals(crystals)


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **more}


def torchrun(plan: list[dict[str, Any]], root: Path) -> list[str]:
    """What came of each run in two processes."""
    (root / "plan.json").write_text(json.dumps(plan))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", RANKS,
        root / "plan.json",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    labelled().write_parquet(root / "table.parquet")
    for name in ("MEGNet", "M3GNet"):
        save_model(small_model(name), root / name, kind="encoder", readout="untrained")
    plan = [
        {"verb": "pretrain", "options": {**options(root, name), "out": str(root / f"two {name}"), "batch_size": 2,
                                         "devices": 2}}
        for name in RUNS
    ]  # fmt: skip
    base = {**options(root, "MEGNet intrinsic"), "batch_size": 2, "devices": 2}
    for rank, name in enumerate(("SIGINT", "SIGTERM")):
        stopped = {**base, "out": str(root / f"stopped {rank}")}
        plan.append({"verb": "pretrain", "options": stopped, "stop": {"signal": name, "rank": rank, "step": 10}})
        plan.append({"verb": "pretrain", "options": {**stopped, "resume": True}})
    tuned = {
        "data": str(root / "table.parquet"), "target": "band_gap", "init_from": str(root / "MEGNet"), "epochs": 7,
        "val_fraction": 0.3, "test_fraction": 0.1, "split": "random", "accelerator": "cpu", "log_every": 1,
    }  # fmt: skip
    (root / "tuned.json").write_text(json.dumps(tuned))
    plan.append({"verb": "finetune", "options": {**tuned, "out": str(root / "two tuned"), "batch_size": 2,
                                                 "devices": 2}})  # fmt: skip
    results = torchrun(plan, root)
    (root / "results.json").write_text(json.dumps(results))
    return root


def state(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def log(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as f:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(f)]


def assert_the_same(one: Path, two: Path) -> None:
    """Weights to 1e-5 of their norm, and the log within the rounding of float32."""
    first, second = state(one), state(two)
    assert first.keys() == second.keys()
    flat = [torch.cat([v.double().reshape(-1) for v in s.values() if v.is_floating_point()]) for s in (first, second)]
    assert float((flat[0] - flat[1]).norm()) < 1e-5 * float(flat[0].norm())
    expected, found = log(one), log(two)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert int(found[-1]["step"]) >= 20
    for before, now in zip(expected, found, strict=True):
        assert before.keys() == now.keys()
        for name, value in before.items():
            if value or now[name]:
                assert float(now[name]) == pytest.approx(float(value), rel=2e-4, abs=2e-5), (name, before["step"])


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_does_with_the_joint_batch(root, name):
    results = json.loads((root / "results.json").read_text())
    assert results[RUNS.index(name)] == "done"
    matgl_ssl.pretrain(**options(root, name), out=root / f"one {name}", batch_size=4)
    assert_the_same(root / f"one {name}", root / f"two {name}")


def test_fine_tuning_is_the_same_too(root):
    tuned = json.loads((root / "tuned.json").read_text())
    one = matgl_ssl.finetune(**tuned, out=root / "one tuned", batch_size=4)
    assert_the_same(root / "one tuned", root / "two tuned")
    with (root / "two tuned" / "metrics.json").open() as f:
        assert json.load(f)["test"]["mae"] == pytest.approx(one.metrics["mae"], rel=1e-3)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_and_they_resume_bit_for_bit(root, rank):
    stopped, resumed = json.loads((root / "results.json").read_text())[len(RUNS) + 2 * rank :][:2]
    assert stopped.startswith("TrainingInterrupted: SIG")
    assert re.search(r"step 1[12]\b", stopped)  # the step under way, or the next
    assert resumed == "done"
    expected, found = (root / f"two {'MEGNet intrinsic'}", root / f"stopped {rank}")
    first, second = state(expected), state(found)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert log(found) == log(expected)


def test_another_number_of_processes_is_refused(root):
    asked = {**options(root, "MEGNet masked-atoms"), "batch_size": 2, "resume": True, "devices": 1}
    with pytest.raises(RunDirectoryError, match=r"of 2 processes.*give --devices"):
        matgl_ssl.pretrain(**asked, out=root / "two MEGNet masked-atoms")


def test_a_process_that_dies_ends_the_run_which_resumes(root):
    """Killed with -9, from the command line, which starts the second process itself."""
    out = root / "killed"
    asked = {**options(root, "MEGNet dssl"), "batch_size": 2, "devices": 2, "checkpoint_minutes": 1e-6, "epochs": 400}
    words = [word for k, v in asked.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    command = [sys.executable, "-m", "matgl_ssl.cli", "pretrain", *words, "--out", str(out)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    asked = ["pgrep", "-P", str(process.pid), "-f", "matgl_ssl.training.team"]
    (other,) = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(other), signal.SIGKILL)
    started = time.monotonic()
    assert process.wait(60) != 0
    assert time.monotonic() - started < 60
    assert "--resume continues" in process.stderr.read()
    steps = len(log(out))
    stopped = subprocess.Popen([*command, "--resume"], env=environment())
    while len(log(out)) <= steps:
        assert stopped.poll() is None
        assert time.monotonic() < deadline + 120
        time.sleep(0.2)
    stopped.terminate()
    assert stopped.wait(60) == 143


SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_NODEID": "0"}


def test_variables_of_slurm_change_nothing_in_a_run_of_one_device(root):
    asked = {**options(root, "MEGNet masked-atoms"), "batch_size": 4, "out": str(root / "slurm")}
    program = f"import torch; torch.set_num_threads(1); import matgl_ssl; matgl_ssl.pretrain(**{asked!r})"
    subprocess.run([sys.executable, "-c", program], env=environment(**SLURM), check=True, capture_output=True)
    assert (root / "slurm" / "encoder" / "model.json").exists()
    assert log(root / "slurm") == log(root / "one MEGNet masked-atoms")


def test_what_cannot_be_handed_over_is_said_before_there_is_a_directory(root, tmp_path):
    class Local(list):  # not to be pickled
        pass

    asked = {**options(root, "MEGNet masked-atoms"), "data": Local([nacl(), cscl()]), "devices": 2}
    with pytest.raises(ConfigError, match="cannot be handed to other processes"):
        matgl_ssl.pretrain(**asked, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
