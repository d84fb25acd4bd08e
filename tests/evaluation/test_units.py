"""Work that several processes share: in order, once, and safe from kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from matgl_ssl.errors import DataError
from matgl_ssl.evaluation.units import Store, Unit, seconds_left, work

DIES = """
import os, sys, time
from pathlib import Path
from matgl_ssl.evaluation.units import Store, Unit, work

folder = Path(sys.argv[1])

def slow():
    (folder / "begun").touch()
    time.sleep(60)

work([Unit("cell", "first", {"i": 0}, lambda: {"mae": 0.0}), Unit("cell", "second", {"i": 1}, slow)], Store(folder))
"""


def unit(i, log, *needs, fails=False):
    def run():
        log.append(i)
        if fails:
            raise DataError("on purpose")
        return {"mae": float(i)}

    return Unit("cell", f"number {i}", {"i": i}, run, needs)


def test_needs_come_first_and_nothing_twice(tmp_path):
    log: list[int] = []
    first = unit(0, log)
    later = unit(1, log, first)
    store = Store(tmp_path)
    assert work([first, later, unit(2, log)], store) == []
    assert work([first, later, unit(2, log)], Store(tmp_path)) == []
    assert log == [0, 1, 2]
    assert store.result(later) == {"mae": 1.0}


def test_what_fails_stops_only_what_needs_it(tmp_path):
    log: list[int] = []
    bad = unit(0, log, fails=True)
    below = unit(1, log, bad)
    good = unit(2, log)
    failed = work([bad, below, good], Store(tmp_path))
    assert [u.label for u in failed] == ["number 0", "number 1"]
    assert log == [0, 2]


def test_other_keys_are_other_units(tmp_path):
    a, b = Unit("cell", "x", {"n": 1}, dict), Unit("cell", "x", {"n": 2}, dict)
    assert a.name != b.name
    assert Unit("cell", "another label", {"n": 1}, dict).name == a.name


def test_a_killed_process_leaves_its_finished_units_and_no_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", DIES, str(tmp_path)])
    for _ in range(600):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.1)
    log: list[int] = []
    second = unit(1, log)
    store = Store(tmp_path)
    with store.claim(second) as mine:
        assert not mine  # somebody is at it
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    work([unit(0, log), second], Store(tmp_path))
    assert log == [1]
    assert sorted(path.suffix for path in Path(tmp_path).glob("cell-*")) == [".json", ".json"]


def test_time_left_is_that_of_units_alike(tmp_path):
    store = Store(tmp_path)
    units = [Unit(kind, "", {"i": i, "n_labels": n, "arm": "a"}, dict) for i, (kind, n) in enumerate(
        [("cell", 100), ("cell", 100), ("cell", 500), ("cell", 500), ("trial", 100)])]  # fmt: skip
    assert seconds_left(units[:2], store, 1) is None
    store.keep(units[0], {}, 10.0)
    store.keep(units[2], {}, 50.0)
    assert seconds_left(units[:4], store, 2) == 30.0
    assert seconds_left(units, store, 2) is None


def test_what_this_machine_has_is_newer_than_an_archive(tmp_path):
    first, second = unit(0, []), unit(1, [])
    elsewhere, archive = Store(tmp_path / "elsewhere"), tmp_path / "units.jsonl"
    work([first, second], elsewhere)
    elsewhere.archive([first, second], archive)
    here = Store(tmp_path / "here", archive)
    Store(tmp_path / "here").keep(first, {"mae": 7.0}, 1.0)
    assert [here.result(first)["mae"], here.result(second)["mae"]] == [7.0, 1.0]


def test_an_archive_keeps_what_it_had(tmp_path):
    """A file that asks for less, for a while, must not cost what is published."""
    log: list[int] = []
    units, archive = [unit(i, log) for i in range(3)], tmp_path / "units.jsonl"
    store = Store(tmp_path / "here")
    work(units, store)
    store.archive(units, archive)
    elsewhere = Store(tmp_path / "there", archive)
    elsewhere.archive(units[2:], archive)
    assert [Store(tmp_path / "there", archive).result(each)["mae"] for each in units] == [0, 1, 2]
    assert len(archive.read_text().splitlines()) == 3


def test_what_is_forgotten_is_done_again(tmp_path):
    log: list[int] = []
    store = Store(tmp_path)
    work([unit(0, log)], store)
    store.forget(unit(0, log))
    work([unit(0, log)], store)
    assert log == [0, 0]
