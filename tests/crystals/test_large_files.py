"""Files larger than memory: rows of JSON as they come, tables that go to disk."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from monty.json import MontyEncoder
from monty.serialization import dumpfn
from pymatgen.entries.computed_entries import ComputedStructureEntry

from matgl_ssl.crystals import Crystal, read_crystals
from matgl_ssl.crystals.layouts import json_files, json_stream
from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.json_stream import stream_rows
from matgl_ssl.crystals.spool import spooled
from matgl_ssl.errors import DataError

ROWS = [{"structure": {"sites": [], "lattice": {}}, "gap": i / 2} for i in range(5)]
IDS = list("abcde")


def pandas_json(orient: str) -> str:
    return pd.DataFrame(ROWS, index=IDS).to_json(orient=orient)


FORMS = {
    "list": (json.dumps(ROWS), list("01234")),
    "entries": (json.dumps({"@module": "x", "entries": ROWS}), list("01234")),
    "records": (pandas_json("records"), list("01234")),
    "split": (pandas_json("split"), IDS),
    "columns": (pandas_json("columns"), IDS),
    "index": (pandas_json("index"), IDS),
    "by two ids": (json.dumps({"m1": dict(zip("abc", ROWS, strict=False)),
                               "m2": dict(zip("de", ROWS[3:], strict=True))}), IDS),
    "gap first": (json.dumps({"gap": dict(zip(IDS, [r["gap"] for r in ROWS], strict=True)),
                              "structure": dict(zip(IDS, [r["structure"] for r in ROWS], strict=True))}), IDS),
}  # fmt: skip


def document(tmp_path, text: str | bytes) -> Document:
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8-sig"))
    return Document(tmp_path / "x.json")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(tmp_path, form):
    text, names = FORMS[form]
    found = list(stream_rows(document(tmp_path, text)))
    assert found == list(zip(names, ROWS, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_the_limit_of_a_row_is_not_one_of_the_file(tmp_path, monkeypatch, form):
    """What stands before and after the rows, or in other columns, belongs to no row."""
    for name, value in (("MAX_ENTRY", 2000), ("_CHUNK", 256)):
        monkeypatch.setattr(json_stream, name, value)
    rows = [{"structure": {"sites": [0.125] * 20, "lattice": {}}, "gap": i / 2} for i in range(400)]
    names = [f"id{i}" for i in range(400)]
    columns = {name: dict(zip(names, [row[name] for row in rows], strict=True)) for name in rows[0]}
    values = [[row["structure"], row["gap"]] for row in rows]
    content = {
        "list": rows, "records": rows, "entries": {"entries": rows}, "index": dict(zip(names, rows, strict=True)),
        "split": {"columns": [*rows[0]], "index": names, "data": values}, "columns": columns,
        "by two ids": {f"mp{name}": {name: row} for name, row in zip(names, rows, strict=True)},
        "gap first": {name: columns[name] for name in ("gap", "structure")},
    }[form]  # fmt: skip
    found = list(stream_rows(document(tmp_path, json.dumps(content))))
    assert [row for _, row in found] == rows
    assert (tmp_path / "x.json").stat().st_size > 20 * 2000


def test_missing_numbers_as_python_writes_them(tmp_path):
    row = {"a": math.nan, "b": [math.inf, -math.inf, 1.0], "c": "NaN, or -Infinity", "structure": 1}
    ((_, found),) = stream_rows(document(tmp_path, json.dumps([row])))
    assert found == {"a": None, "b": [None, None, 1.0], "c": "NaN, or -Infinity", "structure": 1}
    many = json.dumps([{"structure": 1, "n": math.nan}] * 20_000)
    assert {row["n"] for _, row in stream_rows(document(tmp_path, many))} == {None}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1,",
        b"junk",
        b'"x"',
        b'{"a": 1}',
        b"[" * 300_000,
        b'{"a":' * 300_000,
        b"[" + b"1" * 99,
        b"\xff\xfe",
    ],
)
def test_what_is_no_json_is_a_typed_error(tmp_path, text):
    with pytest.raises(DataError):
        list(stream_rows(document(tmp_path, text)))


def test_one_row_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ENTRY", 1 << 20)
    with pytest.raises(DataError, match="one row of more than"):
        list(stream_rows(document(tmp_path, json.dumps([[1.5] * (1 << 20)]))))


def alexandria(path, structures, n: int) -> None:
    """As https://alexandria.icams.rub.de has them: entries of pymatgen, what is known of each in ``data``."""
    entries = [
        ComputedStructureEntry(
            structures[i % 2], -1.5 * i, data={"mat_id": f"agm{i}", "spg": 225, "e_above_hull": 0.1 * i}
        )
        for i in range(n)
    ]
    dumpfn({"entries": entries}, path, cls=MontyEncoder)


@pytest.mark.parametrize("limit", [1 << 25, 1000])
def test_alexandria(tmp_path, monkeypatch, nacl, quartz, limit):
    """Below the limit a file is read at once, above it row by row: with the same result."""
    monkeypatch.setattr(json_files, "MAX_ENTRY", limit)
    alexandria(tmp_path / "alexandria_000.json.bz2", [nacl, quartz], 6)
    found = read_crystals(tmp_path / "alexandria_000.json.bz2")
    assert found.ids == [f"agm{i}" for i in range(6)]
    assert found.formulas() == ["NaCl", "SiO2"] * 3
    np.testing.assert_array_equal(found.column("energy"), -1.5 * np.arange(6))
    np.testing.assert_allclose(found.column("e_above_hull"), 0.1 * np.arange(6))


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, nacl):
    monkeypatch.setattr(json_files, "MAX_ENTRY", 1 << 16)
    monkeypatch.setattr("matgl_ssl.crystals.spool.BATCH", 50)
    peaks = []
    for n in (100, 1200):
        alexandria(tmp_path / f"{n}.json", [nacl, nacl], n)
        tracemalloc.start()
        try:
            found = read_crystals(tmp_path / f"{n}.json")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(found) == n
        assert found.table.cache_files
    size = (tmp_path / "1200.json").stat().st_size
    assert peaks[1] < peaks[0] + size / 4, (peaks, size)  # as objects, the file would take several times its size


def test_many_crystals_are_a_table_on_disk(nacl, monkeypatch):
    monkeypatch.setattr("matgl_ssl.crystals.spool.BATCH", 3)
    labels = [
        {"gap": 1},
        {"gap": None},
        {},
        {"gap": 2.5, "phase": "x"},
        {"gap": 3, "forces": np.ones((8, 3))},
        {},
        {"gap": 4},
    ]
    made = [Crystal.from_structure(nacl, id=f"c{i}", labels=each) for i, each in enumerate(labels)]
    found = spooled(iter(made), "here")
    assert found.table.cache_files
    assert found.ids == [c.id for c in made]
    np.testing.assert_array_equal(found.column("gap"), [1, np.nan, np.nan, 2.5, 3, np.nan, 4])
    assert [c.labels["phase"] for c in found] == [None, None, None, "x", None, None, None]
    assert found[4].labels["forces"].shape == (8, 3)
    assert not spooled(made[:3], "here").table.cache_files
    made[5] = Crystal.from_structure(nacl, labels={"gap": "text"})
    made[3:5] = made[5:6] * 2
    with pytest.raises(DataError, match="different kinds"):
        spooled(made, "here")


def test_a_label_of_several_kinds_that_nobody_asked_for_costs_no_other(nacl, monkeypatch, caplog):
    monkeypatch.setattr("matgl_ssl.crystals.spool.BATCH", 2)
    labels = [{"gap": 1.0, "note": 1}, {"gap": 2.0}, {"gap": 3.0, "note": "a"}]
    made = [Crystal.from_structure(nacl, id=f"c{i}", labels=each) for i, each in enumerate(labels)]
    found = spooled(made, "here", ["gap"])
    assert found.label_names == ["gap"]
    assert found.column("gap").tolist() == [1.0, 2.0, 3.0]
    assert "'note'" in caplog.text
    with pytest.raises(DataError, match="'note' are of different kinds"):
        spooled(made, "here", ["note"])
