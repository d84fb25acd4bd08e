"""Exact resume: a run interrupted anywhere ends as if nobody had touched it, bit for bit."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_systems import SMALL, make_batch, nacl

from matgl_ssl._backend import BACKEND
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.training.checkpointing import ResumableCheckpoint

CLOCK = {"seconds", "structures_per_second", "waiting"}
# Double backward through M3GNet, against a run of its own.
ARGUMENTS = {k: v for k, v in SMALL["M3GNet"].items() if k != "element_types"}
FORCES = {"model": "M3GNet", "model_args": ARGUMENTS, "recipe": "derivative-denoising"}
FOLLOWED = {"recipe": "jepa"}  # the teacher's weights follow each step
# 95 crystals to train on, 6 steps an epoch, numbered 0 to 5 and 6 to 11.
SCENARIOS: dict[str, dict[str, Any]] = {
    "sigterm in the middle of an epoch": {"stop": {"signal": "SIGTERM", "step": 8}},
    "sigint in the middle of an epoch, 2 workers": {"stop": {"signal": "SIGINT", "step": 3}, "num_workers": 2},
    "sigterm to the whole process group, 2 workers": {
        "stop": {"signal": "SIGTERM", "step": 9, "group": True, "times": 2}, "num_workers": 2
    },
    "sigint at the last batch of an epoch": {"stop": {"signal": "SIGINT", "step": 5}},
    "sigterm at the last batch of an epoch, 2 workers": {"stop": {"signal": "SIGTERM", "step": 5}, "num_workers": 2},
    "sigterm while validating": {"stop": {"signal": "SIGTERM", "step": 6, "phase": "val"}},
    "sigint at the last batch of all": {"stop": {"signal": "SIGINT", "step": 11}},
    "kill -9 after a checkpoint within the epoch": {
        "stop": {"signal": "SIGKILL", "step": 8}, "checkpoint_minutes": 1e-6
    },
    "kill -9 far from the last checkpoint, 2 workers": {"stop": {"signal": "SIGKILL", "step": 9}, "num_workers": 2},
    "kill -9 before the first checkpoint": {"stop": {"signal": "SIGKILL", "step": 2}},
    "sigterm in an epoch of forces, 2 workers": {"stop": {"signal": "SIGTERM", "step": 8}, "num_workers": 2, **FORCES},
    "sigint at the last batch of an epoch of forces": {"stop": {"signal": "SIGINT", "step": 5}, **FORCES},
    "sigterm while a teacher follows": {"stop": {"signal": "SIGTERM", "step": 8}, **FOLLOWED},
}  # fmt: skip
if BACKEND == "dgl":  # signals and checkpoints know no graph library
    SCENARIOS = {name: SCENARIOS[name] for name in SCENARIOS if "forces" in name or "kill -9 after" in name}
EXIT_CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9}


@pytest.fixture(scope="module")
def runs(
    run_plan: Any, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, int]]:
    """The directory of all runs, each under its scenario, and the exit codes of the interrupted ones."""
    root = tmp_path_factory.mktemp("runs")
    plan = []
    for name, scenario in SCENARIOS.items():
        asked = {k: v for k, v in scenario.items() if k != "stop"}
        plan.append({"options": {**options, **asked, "out": str(root / name)}, "stop": scenario["stop"]})
        # An interruption may change what does not change the result.
        same = {k: v for k, v in asked.items() if k in FORCES}
        plan.append({"options": {**options, **same, "out": str(root / name), "num_workers": 0, "resume": True}})
    untouched = {"untouched": {}, "untouched derivative-denoising": FORCES, "untouched jepa": FOLLOWED}
    codes = run_plan([{"options": {**options, **more, "out": str(root / name)}} for name, more in untouched.items()])
    assert codes == [0, 0, 0]
    codes = run_plan(plan)
    assert codes[1::2] == [0] * len(SCENARIOS)
    return root, dict(zip(SCENARIOS, codes[::2], strict=True))


def reference(name: str) -> str:
    return " ".join(["untouched", *(v for k, v in SCENARIOS[name].items() if k == "recipe")])


def checkpoint(run: Path) -> dict[str, Any]:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["matgl_ssl"]["log"]  # knows seconds, too
    return content


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as f:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(f)]


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Where two nested states are not the same to the last bit."""
    if type(first) is not type(second):
        return [f"{where}: {type(first)} and {type(second)}"]
    if isinstance(first, torch.Tensor):
        return [] if first.dtype == second.dtype and torch.equal(first, second) else [where]
    if isinstance(first, dict):
        if list(first) != list(second):
            return [f"{where}: keys {list(first)} and {list(second)}"]
        return [d for k in first for d in differences(first[k], second[k], f"{where}.{k}")]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f"{where}: lengths {len(first)} and {len(second)}"]
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}.{i}")]
    return [] if first == second else [f"{where}: {first} and {second}"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_interrupted_run_ends_with_the_same_bits(runs, name):
    root, codes = runs
    assert codes[name] == EXIT_CODES[SCENARIOS[name]["stop"]["signal"]]
    expected, found = checkpoint(root / reference(name)), checkpoint(root / name)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "matgl_ssl"):
        assert differences(expected[part], found[part], part) == []
    weights = [torch.load(root / run / "encoder" / "state.pt", weights_only=True) for run in (reference(name), name)]
    assert differences(*weights) == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_interrupted_run_has_the_same_log(runs, name):
    root, _ = runs
    expected = metrics(root / reference(name))
    assert [row["step"] for row in expected] == [str(step) for step in range(1, 13)]
    assert metrics(root / name) == expected


def test_the_random_state_matters_to_these_runs(options):
    """Dropout draws from it: without, equal bits would prove less."""
    encoder = Encoder(new_model(options["model"], options["model_args"])).train()
    before = torch.get_rng_state()
    encoder(make_batch(encoder, [nacl()]))
    assert not torch.equal(before, torch.get_rng_state())


def test_the_log_has_the_learning_rate_each_step_was_taken_with(runs):
    root, _ = runs
    rows = metrics(root / "untouched")
    assert float(rows[0]["lr"]) == pytest.approx(1e-3)  # 12 steps: one of warm-up
    assert 0 < float(rows[-1]["lr"]) < 1e-4


def test_a_second_signal_does_not_wait_for_the_step(tmp_path):
    """The first asks for a checkpoint; a second one, later, means now."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        ResumableCheckpoint(tmp_path / "last.ckpt", tmp_path / "previous.ckpt").on_train_start(None, None)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # sent twice at once by `timeout`
        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
