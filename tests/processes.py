"""Real processes for tests: whether they live, and a Dask cluster of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.05)


@contextmanager
def cluster(tmp_path):
    """A scheduler and two workers, real processes on this machine: its address, and the workers."""
    distributed = pytest.importorskip("distributed")
    python, file = sys.executable, tmp_path / "scheduler.json"
    run = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    run["env"] = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    where = ["--scheduler-file", str(file)]
    processes = [
        subprocess.Popen([python, *scheduler, *where], **run),
        *(subprocess.Popen([python, *worker, *where, "--name", f"worker-{i}"], **run) for i in range(2)),
    ]
    try:
        wait_until(file.exists)
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=120)
            address = client.scheduler.address
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
