"""One process at a time in a run directory, whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from matgl_ssl import pretrain
from matgl_ssl.errors import DataError, RunDirectoryError
from matgl_ssl.training.config import PretrainConfig
from matgl_ssl.training.exclusive import LOCK, exclusive, occupied
from matgl_ssl.training.rundir import RunDirectory


@pytest.fixture
def running(tmp_path, options):
    """A run of thousands of epochs in a process of its own."""
    script = "import json, sys; from matgl_ssl import pretrain; pretrain(**json.loads(sys.argv[1]))"
    asked = {**options, "epochs": 5000, "checkpoint_minutes": 1e-3, "out": str(tmp_path / "run")}
    process = subprocess.Popen([sys.executable, "-c", script, json.dumps(asked)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield process, asked
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_run_that_is_running_is_not_resumed_and_not_started_again(running):
    process, asked = running
    for resume in (True, False):
        with pytest.raises(RunDirectoryError, match=f"process {process.pid} on {socket.gethostname()}"):
            pretrain(**asked, resume=resume)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)  # the lock dies with it
    process.wait()
    RunDirectory(asked["out"]).stored_config()
    with occupied(Path(asked["out"])):
        pass


def test_two_that_start_at_once_do_not_share_a_directory(tmp_path, options):
    with (
        occupied(tmp_path / "run"),
        pytest.raises(RunDirectoryError, match=f"process {os.getpid()} .*Wait until that run is over"),
    ):
        pretrain(**options, out=tmp_path / "run")


@pytest.mark.parametrize("existed", [True, False])
def test_a_start_that_fails_leaves_nothing_behind(tmp_path, options, existed):
    out = tmp_path / "runs" / "one"
    if existed:
        out.mkdir(parents=True)
    with pytest.raises(DataError):
        pretrain(**{**options, "data": str(tmp_path / "missing.parquet")}, out=out)
    assert list(tmp_path.rglob("*")) == ([tmp_path / "runs", out] if existed else [])


def test_the_lock_is_given_back_after_an_error(tmp_path):
    @exclusive
    def run(*, out):
        (out / "config.yaml").touch()
        (out / "incidents").mkdir(exist_ok=True)
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            run(out=tmp_path)
    assert (tmp_path / LOCK).exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"cannot be written.*--out"), occupied(tmp_path / "file" / "run"):
        pass


def test_a_run_killed_before_it_had_a_configuration_can_be_started_again(tmp_path):
    """Its directory was refused as used, and with --resume as no run."""
    run = RunDirectory(tmp_path)
    for folder in (run.checkpoint.parent, run.figures):
        folder.mkdir()
    for name in (LOCK, ".config.yaml.123.tmp"):
        (tmp_path / name).touch()
    run.refuse_if_used()
    run.start(PretrainConfig(data="crystals.parquet"))
    with pytest.raises(RunDirectoryError, match="not empty"):
        run.refuse_if_used()
