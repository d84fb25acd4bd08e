"""Work that several processes share: in order, once, safe from kill -9, and known by the code that did it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from matgl_ssl.errors import DataError, MatGLSSLError
from matgl_ssl.evaluation.plan import Cell
from matgl_ssl.evaluation.report import scores_of
from matgl_ssl.evaluation.schedule import seconds_left, work
from matgl_ssl.evaluation.store import Store, Unit
from matgl_ssl.formats import signed

pytestmark = pytest.mark.pyg  # it is the same code in both backends

FIXTURE = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "units.jsonl"
DIES = """
import os, sys, time
from pathlib import Path
from matgl_ssl.evaluation.plan import Cell
from matgl_ssl.evaluation.report import scores_of
from matgl_ssl.evaluation.schedule import work
from matgl_ssl.evaluation.store import Store, Unit

folder = Path(sys.argv[1])

def slow():
    (folder / "begun").touch()
    time.sleep(60)

units = [Unit("cell", "first", {"i": 0}, lambda: {"mae": 0.0}), Unit("cell", "second", {"i": 1}, slow)]
list(work(units, Store(folder)))
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
    assert [u.label for u in work([first, later, unit(2, log)], store)] == ["number 0", "number 1", "number 2"]
    assert list(work([first, later, unit(2, log)], Store(tmp_path))) == []
    assert log == [0, 1, 2]
    assert store.result(later) == {"mae": 1.0}


def test_what_fails_stops_only_what_needs_it(tmp_path):
    log: list[int] = []
    bad = unit(0, log, fails=True)
    below = unit(1, log, bad)
    good = unit(2, log)
    failed: dict[str, Unit] = {}
    list(work([bad, below, good], Store(tmp_path), failed))
    assert [u.label for u in failed.values()] == ["number 0", "number 1"]
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
    list(work([unit(0, log), second], Store(tmp_path)))
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
    elsewhere, archive = Store(tmp_path / "elsewhere"), tmp_path / "units.jsonl.xz"
    list(work([first, second], elsewhere))
    elsewhere.archive([first, second], archive)
    here = Store(tmp_path / "here", archive)
    Store(tmp_path / "here").keep(first, {"mae": 7.0}, 1.0)
    assert [here.result(first)["mae"], here.result(second)["mae"]] == [7.0, 1.0]


def test_an_archive_keeps_what_it_had(tmp_path):
    """A file that asks for less, for a while, must not cost what is published."""
    log: list[int] = []
    units, archive = [unit(i, log) for i in range(3)], tmp_path / "units.jsonl"
    store = Store(tmp_path / "here")
    list(work(units, store))
    store.archive(units, archive)
    elsewhere = Store(tmp_path / "there", archive)
    elsewhere.archive(units[2:], archive)
    assert [Store(tmp_path / "there", archive).result(each)["mae"] for each in units] == [0, 1, 2]
    assert len(archive.read_text().splitlines()) == 1 + 3


def test_what_is_forgotten_is_done_again(tmp_path):
    log: list[int] = []
    store = Store(tmp_path)
    list(work([unit(0, log)], store))
    store.forget(unit(0, log))
    list(work([unit(0, log)], store))
    assert log == [0, 0]


@pytest.fixture
def changed_code(monkeypatch):
    """From here on, units would be computed by other code."""
    return lambda: monkeypatch.setattr("matgl_ssl.evaluation.store.made_with", lambda sources: f"later {sources}")


def test_other_code_does_the_work_of_this_machine_again(tmp_path, changed_code):
    log: list[int] = []
    list(work([unit(0, log)], Store(tmp_path)))
    changed_code()
    assert Store(tmp_path, stale="all").result(unit(0, log)) == {"mae": 0.0}
    list(work([unit(0, log)], Store(tmp_path)))
    list(work([unit(0, log)], Store(tmp_path)))
    assert log == [0, 0]


def test_what_other_code_published_counts_and_says_so_unless_told_otherwise(tmp_path, changed_code):
    log: list[int] = []
    list(work([unit(0, log)], elsewhere := Store(tmp_path / "elsewhere")))
    elsewhere.archive([unit(0, log)], archive := tmp_path / "units.jsonl")
    before = unit(0, log).made_with
    changed_code()
    here = Store(tmp_path / "here", archive)
    assert here.get(unit(0, log))["made_with"] == before != unit(0, log).made_with
    list(work([unit(0, log)], here))
    assert log == [0]
    again = Store(tmp_path / "here", archive, stale="none")
    list(work([unit(0, log)], again))
    assert log == [0, 0]
    again.archive([unit(0, log)], archive)
    assert Store(tmp_path / "nowhere", archive).get(unit(0, log))["made_with"] == "later scratch"


def test_what_is_published_is_shown_until_todays_code_has_done_it_again(tmp_path, changed_code):
    """Whatever this machine computed with other code, and whether or not anything is run."""
    log: list[int] = []
    one = unit(0, log)
    list(work([one], elsewhere := Store(tmp_path / "elsewhere")))
    elsewhere.archive([one], archive := tmp_path / "units.jsonl")
    Store(tmp_path / "here").keep(one, {"mae": 7.0}, 1.0)
    changed_code()
    cells = [Cell("gap", "MEGNet", "scratch", 100, 0, 0, "fine-tune", one)]

    def shown(stale):
        plan = SimpleNamespace(cells=cells, store=Store(tmp_path / "here", archive, stale=stale))
        return [score.mae for score in scores_of(plan, "fine-tune")]

    assert Store(tmp_path / "here", archive).get(one) is None  # to be done again
    assert [shown(stale) for stale in ("published", "none", "all")] == [[0.0]] * 3
    Store(tmp_path / "here").keep(one, {"mae": 5.0}, 1.0)
    assert [shown(stale) for stale in ("published", "none", "all")] == [[5.0]] * 3


def other_unit(content: bytes) -> bytes:
    return json.dumps(signed("unit", {**json.loads(content), "unit": "cell-of-another"})).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:30],
        lambda content: b"\xff" + content[1:],
        lambda content: content.replace(b'"mae": 0.0', b'"mae": 8.0'),
        lambda content: content.replace(b'"format"', b'"gormat"'),
        other_unit,
    ],
)
def test_a_damaged_file_is_named_and_done_again(tmp_path, caplog, damage):
    log: list[int] = []
    list(work([unit(0, [])], Store(tmp_path)))
    path = tmp_path / f"{unit(0, log).name}.json"
    path.write_bytes(damage(path.read_bytes()))
    list(work([unit(0, log)], Store(tmp_path)))
    assert log == [0]
    assert f"{unit(0, log).name}.json is damaged: number 0 is done again" in caplog.text
    assert Store(tmp_path).result(unit(0, log)) == {"mae": 0.0}


@pytest.mark.parametrize("damage", [lambda line: line[:30], lambda line: line.replace('"mae": 1.0', '"mae": 3.0')])
def test_a_damaged_line_of_an_archive_costs_that_line(tmp_path, caplog, damage):
    log: list[int] = []
    units, archive = [unit(i, log) for i in range(3)], tmp_path / "units.jsonl"
    list(work(units, store := Store(tmp_path / "here")))
    store.archive(units, archive)
    lines = archive.read_text().splitlines()
    archive.write_text("\n".join([*lines[:2], damage(lines[2]), lines[3]]))
    found = Store(tmp_path / "there", archive)
    assert [found.get(each) is None for each in units] == [False, True, False]
    assert "units.jsonl, line 3 is damaged" in caplog.text
    archive.write_text("\n".join(lines[:3]))
    assert Store(tmp_path / "there", archive).get(units[2]) is None
    assert "units.jsonl was cut short: 1 units are missing" in caplog.text
    for first in ("", lines[0][:30], lines[0].replace('"facts"', '"fadts"')):
        archive.write_text("\n".join([first, *lines[1:]]))
        with pytest.raises(MatGLSSLError, match=r"units\.jsonl, line 1 is damaged"):
            Store(tmp_path / "there", archive)


def test_a_damaged_compressed_archive_is_named(tmp_path):
    archive = tmp_path / "units.jsonl.xz"
    list(work([unit(0, [])], store := Store(tmp_path / "here")))
    store.archive([unit(0, [])], archive)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(MatGLSSLError, match=r"units\.jsonl\.xz is damaged"):
        Store(tmp_path / "there", archive)


def test_a_later_format_is_refused(tmp_path):
    (tmp_path / "units.jsonl").write_text('{"format": 99, "written_by": "matgl_ssl 9", "facts": {}}\n')
    with pytest.raises(MatGLSSLError, match="written by matgl_ssl 9"):
        Store(tmp_path, tmp_path / "units.jsonl")
    path = tmp_path / f"{unit(0, []).name}.json"
    path.write_text('{"format": 99, "written_by": "matgl_ssl 9"}')
    with pytest.raises(MatGLSSLError, match="written by matgl_ssl 9"):
        Store(tmp_path).get(unit(0, []))
    assert path.exists()


def test_units_of_version_0_1_are_carried_over(tmp_path, caplog):
    """They are found by no name until benchmarks/upgrade_units.py gave them one; nothing of them is lost."""
    store = Store(tmp_path / "here", FIXTURE)
    assert "benchmarks/upgrade_units.py" in caplog.text
    store.archive([], tmp_path / "units.jsonl")
    before = [json.loads(line) for line in FIXTURE.read_text().splitlines()]
    after = [json.loads(line) for line in (tmp_path / "units.jsonl").read_text().splitlines()[1:]]
    assert [{k: row[k] for k in ("unit", "label", "result", "seconds")} for row in after] == before
    assert {row["made_with"] for row in after} == {"matgl_ssl 0.1.0"}


def test_what_computes_a_unit_is_known_by_its_code_not_its_words(tmp_path, monkeypatch):
    made = import_module("matgl_ssl.evaluation.made_with")
    shutil.copytree(made._PACKAGE, tmp_path / "matgl_ssl", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(made, "_PACKAGE", tmp_path / "matgl_ssl")

    def now() -> dict[str, str]:
        made._meaning.cache_clear()
        return {sort: made._sources(sort) for sort in made.SOURCES}

    def change(file: str, old: str, new: str) -> set[str]:
        before, path = known.copy(), tmp_path / "matgl_ssl" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        known.update(now())
        return {sort for sort in known if known[sort] != before[sort]}

    known = now()
    assert all((tmp_path / "matgl_ssl" / name).exists() for names in made.SOURCES.values() for name in names)
    assert change("training/config.py", '"""Options of ``pretrain``."""', '"""Others."""  # in short') == set()
    encoders = {"pretrained", "combined"}
    assert change("training/config.py", "Field(10.0, gt=0", "Field(5.0, gt=0") == {"scratch", *encoders}
    assert change("pretexts/masked_atoms.py", "0.15", "0.25") == encoders
    assert change("targets/density.py", "def of_cell", "def of_cells") == {"baseline", "described", *encoders}
    assert change("recipes/textbook.yaml", "epochs: 20", "epochs: 21") == encoders
    assert change("ensemble/combine.py", "_RESAMPLINGS = 30", "_RESAMPLINGS = 31") == {"combined"}
    assert change("evaluation/tables.py", "NO_PAIR = ", "NO_PAIRS = ") == set()
