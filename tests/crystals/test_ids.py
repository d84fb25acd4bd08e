"""Ids are kept as they are, made up where there are none, and told where they are not one's own."""

from __future__ import annotations

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgl_ssl.crystals import Crystal, read_crystals


def table(path, ids, nacl):
    crystal = Crystal.from_structure(nacl)
    columns = {
        "numbers": crystal.numbers,
        "frac_coords": crystal.frac_coords.ravel(),
        "lattice": crystal.lattice.ravel(),
    }
    rows = {name: [values.tolist()] * len(ids) for name, values in columns.items()}
    pq.write_table(pa.table({"material_id": ids, **rows}), path)
    return path


def lines(path, ids, nacl):
    rows = [{"material_id": id_, "structure": nacl.as_dict()} for id_ in ids]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("write", [table, lines])
@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ([0, 1, 2], ["0", "1", "2"]),
        (["a", None, None], ["a", "1", "2"]),
        ([None, 7, None], ["0", "7", "2"]),
        (["x", "x", "y"], ["x", "x", "y"]),
    ],
)
def test_ids(tmp_path, nacl, caplog, write, ids, kept):
    with caplog.at_level(logging.WARNING, "matgl_ssl"):
        dataset = read_crystals(write(tmp_path / ("t.parquet" if write is table else "t.jsonl"), ids, nacl))
    assert [id_.removeprefix("t-") for id_ in dataset.ids] == kept
    assert [crystal.id for crystal in dataset] == dataset.ids
    assert any("2 crystals share their ids with others, as x" in m for m in caplog.messages) == (kept[0] == kept[1])
