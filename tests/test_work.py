"""Work shared by processes: every result once, whoever is killed, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from matgl_ssl.errors import ConfigError, MatGLSSLError
from matgl_ssl.work import parallel

SHARES = """
import os, sys, time
from pathlib import Path
from matgl_ssl.work import parallel

def slow(i):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(parallel(slow, range(4), n_jobs=2))
"""


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


class Work:
    """Squares a number; the first process that gets to ``deadly`` is killed there with -9."""

    def __init__(self, folder, deadly=None):
        self.folder, self.deadly = folder, deadly

    def __call__(self, i):
        (self.folder / f"{i}-{os.getpid()}").touch()
        if i == self.deadly and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i * i, os.getpid()


def test_one_job_is_this_process(tmp_path):
    assert list(parallel(Work(tmp_path), range(3))) == [(i * i, os.getpid()) for i in range(3)]


def test_loky_survives_a_killed_process(tmp_path):
    results = list(parallel(Work(tmp_path, deadly=7), range(20), n_jobs=2))
    assert [square for square, _ in results] == [i * i for i in range(20)]
    processes = {pid for _, pid in results}
    assert os.getpid() not in processes
    assert not any(map(alive, processes))  # none stays behind


def test_processes_that_always_die_end_the_work():
    with pytest.raises(MatGLSSLError, match="fewer of them"):
        list(parallel(_dies, range(2), n_jobs=2))


def _dies(i):
    os.kill(os.getpid(), signal.SIGKILL)


def _fails(i):
    raise ConfigError(f"number {i}")


def test_an_error_comes_as_it_is():
    with pytest.raises(ConfigError, match=r"number [01]"):
        list(parallel(_fails, range(2), n_jobs=2))


def test_items_are_asked_for_as_processes_become_free(tmp_path):
    asked = []

    def items():
        for i in range(100):
            asked.append(i)
            yield i

    results = parallel(Work(tmp_path), items(), n_jobs=2, in_order=False)
    next(results)
    results.close()
    assert len(asked) < 30


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_signal_leaves_no_process(tmp_path, signum, code):
    script = tmp_path / "shares.py"
    script.write_text(SHARES)
    pids = tmp_path / "pids"
    pids.mkdir()
    process = subprocess.Popen([sys.executable, str(script), str(pids)], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    process.send_signal(signum)
    assert process.wait(timeout=120) in (code, 1)
    wait_until(lambda: not any(alive(path.name) for path in pids.iterdir()))


@contextmanager
def cluster(tmp_path):
    """A scheduler and two workers, real processes on this machine."""
    pytest.importorskip("distributed")
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
        yield file, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_dask_cluster_survives_a_killed_worker(tmp_path):
    with cluster(tmp_path) as (file, workers):
        from distributed import Client

        wait_until(file.exists)
        with Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        results = list(parallel(Work(tmp_path, deadly=7), range(20), cluster=address))
        assert [square for square, _ in results] == [i * i for i in range(20)]
        assert {pid for _, pid in results} <= {worker.pid for worker in workers}
        wait_until(lambda: sum(worker.poll() is None for worker in workers) == 1)


def test_a_cluster_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("matgl_ssl.work._CONNECT_SECONDS", 1)
    with pytest.raises(ConfigError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(parallel(abs, [1], cluster="tcp://127.0.0.1:9"))


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"matgl_ssl\[cluster\]"):
        list(parallel(abs, [1], cluster="tcp://127.0.0.1:9"))
