"""Data is data: nothing that a structure, row or table names is imported, called or opened."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile.bait import MODULE, PAYLOADS, PLACES
from pymatgen.core import Structure

from matgl_ssl.crystals import check_dataset, read_crystals
from matgl_ssl.errors import DataError


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that the module leaves behind when somebody imports it."""
    (tmp_path / "modules").mkdir()
    path = tmp_path / "marker"
    code = f"open({str(path)!r}, 'w').close()\ndef run(*args): pass\nclass Thing:\n    from_dict = classmethod(run)\n"
    (tmp_path / "modules" / f"{MODULE}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    sys.modules.pop(MODULE, None)
    yield path
    sys.modules.pop(MODULE, None)


CONTAINERS = ["json", "jsonl", "csv", "parquet", "object"]


def _read(path, container: str, data: dict):
    if container == "object":
        return read_crystals([{"structure": data}])
    if container == "json":
        path.with_suffix(".json").write_text(json.dumps([{"structure": data, "label": data.get("properties")}]))
    elif container == "jsonl":
        path.with_suffix(".jsonl").write_text(json.dumps(data))
    elif container == "csv":
        pd.DataFrame({"structure": [json.dumps(data)]}).to_csv(path.with_suffix(".csv"))
    else:
        pq.write_table(pa.table({"structure": [json.dumps(data)]}), path.with_suffix(".parquet"))
    return read_crystals(path.with_suffix(f".{container}"))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_a_structure_names_is_imported(marker, tmp_path, nacl, payload, place, container):
    data = PLACES[place](nacl, PAYLOADS[payload])
    with contextlib.suppress(DataError):
        assert _read(tmp_path / "x", container, data).formulas() == ["NaCl"]
    assert not marker.exists()
    assert MODULE not in sys.modules


def test_the_marker_works(marker, nacl):
    """pymatgen's own reader runs what the property names."""
    Structure.from_dict(PLACES["site property"](nacl, PAYLOADS["class"]))
    assert marker.exists()


@pytest.mark.parametrize("place", ["site property", "species", "site", "properties"])
def test_what_is_read_nonetheless_is_the_structure(tmp_path, nacl, place):
    data = PLACES[place](nacl, {"@module": MODULE, "@class": "Thing"})
    assert read_crystals([data]).formulas() == ["NaCl"]


@pytest.mark.parametrize("name", ["x.pkl", "x.pickle", "x.pkl.gz"])
def test_no_pickle_is_opened(marker, tmp_path, name):
    class Evil:
        def __reduce__(self):
            return exec, (f"import {MODULE}",)

    (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="executes"):
        read_crystals(tmp_path / name)
    assert not marker.exists()


DEEP = 100_000
SHAPES = {
    "nested lists": "[" * DEEP + "]" * DEEP,
    "nested objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "nested in a field": '{"lattice": {"matrix": ' + "[" * DEEP + "]" * DEEP + '}, "sites": []}',
    "holders": '{"@class": "ComputedStructureEntry", "structure": ' * 500 + "{}" + "}" * 500,
    "a million numbers for a cell": json.dumps({"lattice_mat": [1.0] * 10**6, "coords": [], "elements": []}),
    "too many atoms": json.dumps({"lattice_mat": [[9, 0, 0]] * 3, "coords": [], "elements": ["H"] * 10**6}),
    "a shape that is not": json.dumps(
        {"numbers": {"__ndarray__": [[10**12], "int64", [1]]}, "positions": [[0, 0, 0]], "cell": [[1, 0, 0]] * 3}
    ),
    "numbers beyond any": json.dumps({"numbers": [10**400], "positions": [[0, 0, 0]], "cell": [[1, 0, 0]] * 3}),
    "text for a list": json.dumps({"symbols": "NaCl", "positions": [[0, 0, 0]] * 4, "cell": [[1, 0, 0]] * 3}),
    "another class": json.dumps({"@class": "Molecule", "lattice": {}, "sites": []}),
    "not a number": '{"numbers": [1], "positions": [[NaN, 0, 0]], "cell": [[9, 0, 0], [0, 9, 0], [0, 0, Infinity]]}',
    "fractions of elements": json.dumps({"numbers": [1.5], "positions": [[0, 0, 0]], "cell": [[1, 0, 0]] * 3}),
}  # fmt: skip


@pytest.mark.parametrize("container", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_no_structure_looks_like_is_one_error(tmp_path, shape, container):
    path = tmp_path / f"x.{container}"
    if container == "csv":
        pd.DataFrame({"structure": [SHAPES[shape]]}).to_csv(path)
    else:
        path.write_text(SHAPES[shape])
    with pytest.raises(DataError):
        check_dataset(read_crystals(path))


def test_the_readers_call_no_decoder_of_classes():
    """Neither pymatgen's nor monty's nor ASE's: each makes objects of what the data names."""
    from pathlib import Path

    import matgl_ssl.crystals

    for file in Path(matgl_ssl.crystals.__file__).parent.rglob("*.py"):
        code = file.read_text(encoding="utf-8")
        for name in (
            "MontyDecoder",
            "loadfn",
            ".from_dict(",
            "from_json(",
            "read_json(",
            "read_pickle(",
            "object_hook=decode",
        ):
            assert name not in code.replace("pandas.read_pickle('{0}')", ""), f"{file}: {name}"
