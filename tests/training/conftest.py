"""Crystals on disk, and a way to run and interrupt pretraining in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_systems import SMALL

from matgl_ssl.crystals import demo_corpus

RUNNER = Path(__file__).with_name("runner.py")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 demo crystals as Parquet."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.parquet"
    demo_corpus(120, seed=1).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def options(corpus: Path) -> dict[str, Any]:
    """Options of a pretraining run of seconds: MEGNet with dropout, so that random states matter."""
    arguments = {k: v for k, v in SMALL["MEGNet"].items() if k != "element_types"}
    return {
        "data": str(corpus), "model": "MEGNet", "model_args": {**arguments, "nblocks": 2, "dropout": 0.1},
        "epochs": 2, "batch_size": 16, "n_crystals": 100, "log_every": 1, "accelerator": "cpu", "seed": 3,
    }  # fmt: skip


@pytest.fixture(scope="session")
def run_plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict[str, Any]]], list[int]]:
    """A function that runs what ``runner.py`` is for and returns the exit codes."""

    def run(plan: list[dict[str, Any]]) -> list[int]:
        path = tmp_path_factory.mktemp("plan") / "plan.json"
        path.write_text(json.dumps(plan))
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(path)], env={**os.environ, **threads}, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        print(done.stderr)  # shown when the test fails
        return json.loads(done.stdout.splitlines()[-1])

    return run
