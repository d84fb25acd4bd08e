"""Work shared by processes: every result once, whoever is killed, and nobody left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from joblib import Parallel, delayed
from processes import alive, cluster, wait_until

from matgl_ssl import progress
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


class Nested:
    """What uses joblib inside, as scikit-learn does. Two at once in one process are an error."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, i):
        busy = self.folder / f"busy-{os.getpid()}"
        busy.touch(exist_ok=False)
        found = sum(Parallel()(delayed(slow_root)(x) for x in (1, 4)))
        busy.unlink()
        return found


def slow_root(x):
    time.sleep(0.2)
    return x**0.5


def test_one_job_is_this_process(tmp_path):
    assert list(parallel(Work(tmp_path), range(3))) == [(i * i, os.getpid()) for i in range(3)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_terminal_shows_how_far_it_is_and_the_time_left(monkeypatch, capfd, n_jobs):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    assert list(parallel(slow_root, [1, 4, 9], n_jobs=n_jobs, what="targets", total=3)) == [1, 2, 3]
    assert re.search(r"targets: .*(33|67)%.*<00:0\d", capfd.readouterr().err)


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


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
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


def test_a_dask_cluster_survives_a_killed_worker(tmp_path):
    with cluster(tmp_path) as (address, workers):
        assert list(parallel(Nested(tmp_path), range(8), cluster=address)) == [3.0] * 8
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
