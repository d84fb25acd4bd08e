"""Tables on disk that are not what they seem."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.feather import write_feather
from small_systems import nacl

from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.errors import DataError


def test_a_parquet_file_that_would_fill_the_memory_is_refused(tmp_path):
    """Zeros in one list: a few kilobytes that are gigabytes."""
    offsets, zeros = pa.array([0, 40_000_000], pa.int32()), pa.array(np.zeros(40_000_000, np.int64))
    table = pa.table({"numbers": pa.ListArray.from_arrays(offsets, zeros)})
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path)
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match=r"0.3 GB in 0.0 MB"):
        read_crystals(path)


def test_an_arrow_file_that_would_fill_the_memory_is_refused(tmp_path):
    table = pa.table({"numbers": pa.array([np.zeros(40_000_000, np.int64)]), "d": pa.array(["a"]).dictionary_encode()})
    write_feather(table, tmp_path / "bomb.feather", compression="zstd")
    with pytest.raises(DataError, match=r"0.3 GB in"):
        read_crystals(tmp_path / "bomb.feather")


N_ROWS = 300
FLAT = {
    "numbers": [[11, 17]] * N_ROWS,
    "frac_coords": [[0.0, 0, 0, 0.5, 0.5, 0.5]] * N_ROWS,
    "lattice": [[4.0, 0, 0, 0, 4, 0, 0, 0, 4]] * N_ROWS,
}


def _repeated(kind: str, length: int) -> pa.Table:
    """Rows with one long text, which is stored once."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * N_ROWS, pa.int32()), ["x" * length])
    if kind == "list":
        text = pa.ListArray.from_arrays(pa.array(range(N_ROWS + 1), pa.int32()), text)
    return pa.table({**FLAT, "label": text})


@pytest.mark.parametrize("kind", ["text", "list"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_text_that_is_repeated_until_it_fills_the_memory_is_refused(tmp_path, suffix, kind):
    def written(length):
        path = tmp_path / f"{length}{suffix}"
        if suffix == ".parquet":
            pq.write_table(_repeated(kind, length), path, compression="zstd", store_schema=False)
        else:
            write_feather(_repeated(kind, length), path, compression="zstd")
        return path

    assert len(read_crystals(written(10))) == N_ROWS
    with pytest.raises(DataError, match=r"0\.\d GB in 0\.\d MB"):
        read_crystals(written(1_000_000))


def test_what_polars_writes_is_read(tmp_path):
    """It writes views of text, and files whose messages only their end lists."""
    frame = pl.DataFrame({**FLAT, "phase": ["bcc"] * N_ROWS})
    frame.write_parquet(tmp_path / "x.parquet")
    frame.write_ipc(tmp_path / "x.arrow")
    frame.write_ipc(tmp_path / "x.feather", compression="zstd")
    for name in ("x.parquet", "x.arrow", "x.feather"):
        assert read_crystals(tmp_path / name)[299].labels == {"phase": "bcc"}


def test_views_of_one_text_are_a_bomb(tmp_path):
    one = pa.array(["x" * 1_000_000], pa.string_view())
    view = one.buffers()[1].to_pybytes()
    many = pa.Array.from_buffers(pa.string_view(), N_ROWS, [None, pa.py_buffer(view * N_ROWS), *one.buffers()[2:]])
    table = pa.table({**FLAT, "label": many})
    write_feather(table, tmp_path / "x.feather", compression="zstd")
    with pytest.raises(DataError, match=r"0\.\d GB in 0\.\d MB"):
        read_crystals(tmp_path / "x.feather")


def test_categories_are_labels(tmp_path):
    frame = pd.DataFrame({**FLAT, "phase": pd.Categorical(["a", "b", "b"] * (N_ROWS // 3))})
    for name, save in {"x.parquet": frame.to_parquet, "x.feather": frame.to_feather}.items():
        save(tmp_path / name)
        assert list(read_crystals(tmp_path / name).column("phase")[:3]) == ["a", "b", "b"]


def test_rows_of_nothing_are_a_bomb(tmp_path):
    path = tmp_path / "bomb.arrow"
    schema = pa.schema([("numbers", pa.null())])
    with pa.ipc.new_stream(str(path), schema) as sink:
        sink.write_batch(pa.record_batch([pa.nulls(10**9)], schema=schema))
    with pytest.raises(DataError, match=r"8.0 GB in"):
        read_crystals(path)


@pytest.fixture
def saved(tmp_path):
    """A folder as ``save_to_disk`` writes it, beside a secret."""
    table = CrystalDataset.from_crystals([nacl(), nacl()]).table
    table.save_to_disk(tmp_path / "saved")
    table.save_to_disk(tmp_path / "secret")
    return tmp_path / "saved"


def test_what_save_to_disk_wrote_is_read(saved):
    assert len(read_crystals(saved)) == 2


@pytest.mark.parametrize("name", ["../secret/data-00000-of-00001.arrow", "/etc/passwd", ".."])
def test_a_record_of_save_to_disk_names_nothing_outside(saved, name):
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"] = [{"filename": name}]
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="does not lie beside it"):
        read_crystals(saved)


def test_splits_are_folders_inside(saved, tmp_path):
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "../secret"]}))
    with pytest.raises(DataError, match="does not lie beside it"):
        read_crystals(saved)


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"_data_files": [1]}'])
def test_a_damaged_record_is_named(saved, text):
    (saved / "state.json").write_text(text)
    with pytest.raises(DataError, match="not what save_to_disk writes"):
        read_crystals(saved)


def test_a_saved_table_that_would_fill_the_memory_is_refused(saved):
    (file,) = saved.glob("*.arrow")
    table = pa.table({"numbers": pa.array([np.zeros(40_000_000, np.int64)])})
    with pa.ipc.new_stream(str(file), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as sink:
        sink.write_table(table)
    with pytest.raises(DataError, match=r"0.3 GB in"):
        read_crystals(saved)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "http://127.0.0.1:9/x.arrow", ""])
def test_a_manifest_names_no_shard_outside(tmp_path, name):
    shard = {"file": name, "bytes": 10, "sha256": "0"}
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": [shard]}))
    with pytest.raises(DataError, match="does not lie beside it"):
        read_crystals(tmp_path)


@pytest.mark.parametrize("shards", [1, [1], [{}], {"file": 1}, None])
def test_a_damaged_manifest_is_named(tmp_path, shards):
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": shards}))
    with pytest.raises(DataError, match="is damaged"):
        read_crystals(tmp_path)


def test_a_saved_table_with_dictionaries_is_refused(saved):
    (file,) = saved.glob("*.arrow")
    table = _repeated("text", 10)
    with pa.ipc.new_stream(str(file), table.schema) as sink:
        sink.write_table(table)
    with pytest.raises(DataError, match="has dictionaries"):
        read_crystals(saved)
