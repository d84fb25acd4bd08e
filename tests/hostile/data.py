"""Hostile files of crystals, in every layout and container that is read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import lmdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ase.db import connect
from ase.io import write
from pyarrow.feather import write_feather

from .bait import CALLS, MODULE, PAYLOADS, PLACES, URL, Bait, salt

Found = Iterator[tuple[str, Path]]
_FLAT = {"numbers": [[11, 17]], "frac_coords": [[0.0, 0, 0, 0.5, 0.5, 0.5]], "lattice": [[4.0, 0, 0, 0, 4, 0, 0, 0, 4]]}


def inputs(folder: Path, bait: Bait) -> Found:
    """Names and paths of files and folders to be read."""
    for maker in (_structures, _pickles, _features, _extensions, _saved, _of_ase, _archives, _texts, _manifests):
        place = folder / maker.__name__.strip("_")
        place.mkdir(parents=True)
        yield from maker(place, bait)


def _structures(folder: Path, bait: Bait) -> Found:
    for payload, place in ((p, q) for p in PAYLOADS for q in PLACES):
        data = PLACES[place](salt(), PAYLOADS[payload])
        for suffix, pack in (_CONTAINERS if payload == "class" else {".json": _CONTAINERS[".json"]}).items():
            path = folder / f"{payload} {place}{suffix}"
            pack(path, data)
            yield f"{payload} in {place}, {suffix}", path


def _zipped(path: Path, data: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps(data))


def _arrow(path: Path, data: Any) -> None:
    table = pa.table({"structure": [json.dumps(data)]})
    (pq.write_table if path.suffix == ".parquet" else write_feather)(table, path)


_CONTAINERS: dict[str, Callable[[Path, Any], object]] = {
    ".json": lambda path, data: path.write_text(json.dumps([{"structure": data, "label": data.get("properties")}])),
    ".jsonl": lambda path, data: path.write_text(json.dumps(data)),
    ".csv": lambda path, data: pd.DataFrame({"structure": [json.dumps(data)]}).to_csv(path),
    ".parquet": _arrow,
    ".feather": _arrow,
    ".json.gz": lambda path, data: path.write_bytes(gzip.compress(json.dumps(data).encode())),
    ".json.bz2": lambda path, data: path.write_bytes(bz2.compress(json.dumps(data).encode())),
    ".json.xz": lambda path, data: path.write_bytes(lzma.compress(json.dumps(data).encode())),
    ".zip": _zipped,
}


def _pickles(folder: Path, bait: Bait) -> Found:
    """Pickles under every name that is read."""
    names = (
        "a.pkl a.pickle a.pkl.gz a.json a.jsonl a.csv a.cif a.vasp a.xyz a.traj a.db a.aselmdb a.parquet a.arrow a.zip"
    )
    for call, name in ((c, n) for c in CALLS for n in names.split()):
        path = folder / f"{call}-{name}"
        content = pickle.dumps(CALLS[call])
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        yield f"a pickle of {call} as {name}", path


def _features(folder: Path, bait: Bait) -> Found:
    """Tables whose metadata for Hugging Face say that a column is a file to be opened."""
    for kind, place in (
        (k, p)
        for k in ("Image", "Audio", "Video", "Pdf", "Mesh", "Nifti")
        for p in (bait.secret.with_suffix(".png"), URL)
    ):
        features = {name: {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "List"} for name in _FLAT}
        metadata = {"info": {"features": {**features, "picture": {"_type": kind, "decode": True}}}}
        pictures = pa.array(
            [{"bytes": None, "path": str(place)}], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
        table = pa.table({**_FLAT, "picture": pictures}).replace_schema_metadata({"huggingface": json.dumps(metadata)})
        for suffix, save in {".parquet": pq.write_table, ".feather": write_feather}.items():
            path = folder / f"{kind}-{'url' if place == URL else 'file'}{suffix}"
            save(table, path)
            yield f"a column of {kind} at {'an address' if place == URL else 'a path'}, {suffix}", path


def _extensions(folder: Path, bait: Bait) -> Found:
    """Arrow's extension types, of which one was a pickle."""
    for call, name in (
        (c, n) for c in CALLS for n in ("arrow.py_extension_type", f"{MODULE}.Thing", "ray.data.arrow_pickled_object")
    ):
        mark = {"ARROW:extension:name": name, "ARROW:extension:metadata": pickle.dumps(CALLS[call])}
        schema = pa.schema([pa.field("label", pa.int64(), metadata=mark)])
        table = pa.table(_FLAT).append_column(schema.field(0), pa.array([1]))
        for suffix, save in {".parquet": pq.write_table, ".feather": write_feather}.items():
            path = folder / f"{call}-{name}{suffix}"
            save(table, path)
            yield f"an extension type {name} of {call}, {suffix}", path


def _saved(folder: Path, bait: Bait) -> Found:
    """Folders of ``save_to_disk`` whose records lie."""
    changes: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
        "a file elsewhere": lambda state, info: state.update(_data_files=[{"filename": str(bait.secret)}]),
        "a file above": lambda state, info: state.update(
            _data_files=[{"filename": f"../../../bait/{bait.secret.name}"}]
        ),
        "a file at an address": lambda state, info: state.update(_data_files=[{"filename": URL}]),
        "a format": lambda state, info: state.update(_format_type=MODULE, _format_kwargs={"@module": MODULE}),
        "a feature": lambda state, info: info["features"].update(label={"_type": MODULE, "@module": MODULE}),
        "a picture": lambda state, info: info["features"].update(label={"_type": "Image"}),
        "a builder": lambda state, info: info.update(builder_name=MODULE, download_checksums={URL: {}}),
    }
    for name, change in changes.items():
        place = folder / name
        pictures = {"label": [{"bytes": None, "path": URL}]} if name == "a picture" else {"label": [1]}
        datasets.Dataset(pa.table({**_FLAT, **pictures})).save_to_disk(place)
        state, info = (json.loads((place / f"{n}.json").read_text()) for n in ("state", "dataset_info"))
        change(state, info)
        (place / "state.json").write_text(json.dumps(state))
        (place / "dataset_info.json").write_text(json.dumps(info))
        yield f"save_to_disk with {name}", place


def _of_ase(folder: Path, bait: Bait) -> Found:
    atoms = salt().to_ase_atoms()
    with connect(folder / "plain.db") as rows:
        rows.write(atoms)
    for call, content in CALLS.items():
        pickled = pickle.dumps(content)
        (folder / f"{call}.npz").write_bytes(pickled)
        np.save(folder / f"{call}.npy", np.array([content], dtype=object), allow_pickle=True)
        for column in ("numbers", "data", "key_value_pairs", "calculator", "constraints"):
            path = folder / f"{call} {column}.db"
            path.write_bytes((folder / "plain.db").read_bytes())
            with sqlite3.connect(path) as database:
                database.execute(f"UPDATE systems SET {column} = ?", (pickled,))
            yield f"a pickle of {call} in {column} of a database", path
    for name, payload in PAYLOADS.items():
        row = {"numbers": [11, 17], "positions": salt().cart_coords.tolist(), "cell": (4 * np.eye(3)).tolist(),
               "pbc": [True] * 3, "calculator": MODULE, "calculator_parameters": payload, "constraints": [payload],
               "data": payload, "key_value_pairs": {"x": payload}}  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps({"1": row, "ids": [1], "nextid": 2}))
        yield f"{name} in a row of ASE's JSON", folder / f"{name}.json"
        with (
            lmdb.open(str(folder / f"{name}.aselmdb"), subdir=False, map_size=1 << 20) as database,
            database.begin(write=True) as rows,
        ):
            rows.put(b"1", zlib.compress(json.dumps(row).encode()))
        yield f"{name} in a row of an .aselmdb", folder / f"{name}.aselmdb"
        write(folder / f"{name}.traj", atoms)
        content = (folder / f"{name}.traj").read_bytes()
        said = json.dumps(
            {
                "calculator.": {"name": MODULE, **payload},
                "constraints": [payload],
                "numbers.": {"ndarray": [[2], "object", 0]},
            }
        )
        place = content.rindex(b'{"version"') if b'{"version"' in content else content.rindex(b"{")
        (folder / f"{name}.traj").write_bytes(content[: place - 8] + np.int64(len(said)).tobytes() + said.encode())
        yield f"{name} in a trajectory", folder / f"{name}.traj"
    for name, script in _SQL.items():
        path = folder / f"{name}.db"
        with sqlite3.connect(path) as database:
            database.executescript(script.format(secret=bait.secret))
        yield f"a database with {name}", path


_SQL = {
    "a view": "CREATE VIEW systems AS SELECT 1 AS id, load_extension('{secret}') AS numbers",
    "a computed column": "CREATE TABLE systems (id INTEGER, numbers BLOB AS (zeroblob(1000000000)))",
    "a virtual table": "CREATE VIRTUAL TABLE systems USING fts5(id, numbers, positions, cell, pbc)",
    "a trigger": "CREATE TABLE systems (id INTEGER, numbers BLOB);"
    "CREATE TRIGGER t AFTER INSERT ON systems BEGIN DELETE FROM systems; END",
}


def _archives(folder: Path, bait: Bait) -> Found:
    cif = salt().to(fmt="cif").encode()
    for number, name in enumerate(
        ("../secret.cif", "../../../bait/secret.cif", str(bait.secret), "C:\\secret.cif", "..\\secret.cif")
    ):
        path = folder / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, cif)
        yield f"a zip that holds {Path(name).name}, {number}", path
        for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo("a.cif" if kind != tarfile.REGTYPE else name)
            member.type, member.linkname = kind, name if kind != tarfile.REGTYPE else ""
            member.size = len(cif) if kind == tarfile.REGTYPE else 0
            with tarfile.open(path.with_suffix(f".{kind.decode()}.tar"), "w") as archive:
                archive.addfile(member, io.BytesIO(cif))
            yield f"a tar of type {kind!r} that leads to {number}", path.with_suffix(f".{kind.decode()}.tar")


def _texts(folder: Path, bait: Bait) -> Found:
    cif = salt().to(fmt="cif")
    tell = f"__import__('{MODULE}')"
    magnetic = f"_space_group_magn.transform_BNS_Pp_abc  'a,b,[d for d in [{tell}]][0];0,0,0'\n"
    head = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
    for name, text in {
        "a.cif": f"{cif}{magnetic}_space_group_magn.number_BNS  62.448\n",
        "b.cif": cif.replace("x, y, z", f"{tell}, y, z").replace("P 1", tell),
        "c.cif": cif.replace("_cell_length_a", f"_cell_length_a '{tell}'\n_other"),
        "POSCAR": salt().to(fmt="poscar").replace("1.0\n", f"{tell}\n", 1),
        "a.extxyz": f'2\n{head} x=_JSON{{"@module":"{MODULE}"}} calculator={MODULE}\nNa 0 0 0\nCl 2 2 2\n',
        "b.extxyz": f'2\n{head}:{MODULE}:O:1 pbc="{tell}"\nNa 0 0 0 a\nCl 2 2 2 b\n',
        "a.yaml": f"!!python/object/apply:{MODULE}.run []", "a.csv": f"structure,gap\n={tell},1\n@{tell},2\n",
    }.items():  # fmt: skip
        (folder / name).write_text(text)
        yield f"text of {name}", folder / name
    for number, name in enumerate(
        (str(bait.secret), "../../../bait/secret.cif", URL, "file://" + str(bait.secret), "~/secret.cif")
    ):
        place = folder / str(number)
        place.mkdir()
        (place / "a.cif").write_text(cif)
        pd.DataFrame({"file": [name, "a.cif"], "gap": [1.0, 2.0]}).to_csv(place / "labels.csv", index=False)
        yield f"a table that names a file elsewhere, {number}", place / "labels.csv"
        rows = [{"structure": name, "gap": 1}, {"cif": name}, {"atoms": {"@path": name}}, {"structure": {"$ref": name}}]
        (place / "rows.json").write_text(json.dumps(rows))
        yield f"rows that name a file elsewhere, {number}", place / "rows.json"


def _manifests(folder: Path, bait: Bait) -> Found:
    for number, name in enumerate(
        (str(bait.secret), f"../../../bait/{bait.secret.name}", URL, f"~/{bait.secret.name}")
    ):
        place = folder / str(number)
        place.mkdir()
        shard = {"file": name, "bytes": bait.secret.stat().st_size, "sha256": "0"}
        (place / "manifest.json").write_text(
            json.dumps({"shards": [shard], "sources": [{"data": name, **PAYLOADS["class"]}]})
        )
        yield f"a manifest with a shard elsewhere, {number}", place
