"""ASE's databases and trajectories: numbers out of known fields.

ASE's own readers make objects of classes that a file names (constraints, band paths), and arrays of any size that it
claims. Here a field is a number, text, or an array whose size is that of its data.
"""

from __future__ import annotations

import json
import mmap
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO, Literal
from urllib.parse import quote

import numpy as np
from ase import Atoms

from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, Budget, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.lmdb_files import places
from matgl_ssl.errors import DataError

RESULTS = ("energy", "free_energy", "forces", "stress", "magmom", "magmoms", "dipole", "charges")
"""What calculators leave in a row or frame, in ASE's units: eV, Å, and numbers of unpaired electrons."""
_NESTED = ("key_value_pairs", "data", "info")
_BLOBS = {"numbers": "<i4", "positions": "<f8", "cell": "<f8", "forces": "<f8", "stress": "<f8", "magmoms": "<f8",
          "dipole": "<f8", "charges": "<f8"}  # fmt: skip
_COLUMNS = ("pbc", "energy", "free_energy", "magmom", "key_value_pairs", "data", *_BLOBS)


def ase_entry(key: str, fields: Mapping[str, Any]) -> Entry:
    """A row of a database or a frame: the atoms, results, and what the user wrote beside them."""
    try:
        numbers, positions, cell = (_array(fields[name]) for name in ("numbers", "positions", "cell"))
        if positions.size != 3 * numbers.size:
            raise DataError(f"{numbers.size} atoms, but {positions.size} coordinates")
        pbc = _array(fields.get("pbc", False)).astype(bool)
        atoms = Atoms(numbers.astype(int).ravel(), positions.reshape(-1, 3), cell=cell.reshape(3, 3), pbc=pbc)
        named: dict[str, Any] = {name: fields[name] for name in RESULTS if fields.get(name) is not None}
        for group in _NESTED:
            given = fields.get(group)
            named = {**(given if isinstance(given, Mapping) else {}), **named}
        labels = {name: _label(value) for name, value in named.items()}
        return key, atoms, {name: value for name, value in labels.items() if value is not None}
    except Exception as err:  # whatever a stranger's values make numpy raise
        return key, err if isinstance(err, DataError) else DataError(f"unreadable fields: {err!r}"), {}


def parse_db(document: Document) -> Iterator[Entry]:
    """The rows of an SQLite database of ASE."""
    with (
        document.on_disk() as path,
        closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database,
    ):
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ENTRY)
        database.execute("PRAGMA trusted_schema = OFF")
        if database.execute("SELECT type FROM sqlite_master WHERE name = 'systems'").fetchall() != [("table",)]:
            raise DataError("no table 'systems': this is no database of ASE")
        there = {row[1] for row in database.execute("PRAGMA table_info(systems)")}
        columns = [name for name in _COLUMNS if name in there]
        for key, *values in database.execute(f"SELECT id, {', '.join(columns)} FROM systems"):  # noqa: S608 - ours
            yield _sqlite_entry(str(key), dict(zip(columns, values, strict=True)))


def _sqlite_entry(key: str, row: dict[str, Any]) -> Entry:
    try:
        fields: dict[str, Any] = {name: value for name, value in row.items() if value is not None}
        for name, kind in _BLOBS.items():
            if name in fields:
                fields[name] = np.frombuffer(fields[name], kind)
        fields["pbc"] = [bool(int(fields.get("pbc", 0)) & bit) for bit in (1, 2, 4)]
        for name in ("key_value_pairs", "data"):
            content = fields.get(name)
            fields[name] = _packed(content) if isinstance(content, bytes) else json.loads(content or "{}")
    except Exception as err:
        return key, DataError(f"unreadable row: {err!r}"), {}
    return ase_entry(key, fields)


def _packed(content: bytes) -> Any:
    """JSON at the end of a blob, whose arrays stand before it."""
    start = int(np.frombuffer(content[:8], "<i8")[0])

    def array(fields: dict[str, Any]) -> Any:
        return _read_array(content, *fields["__ndarray__"]) if "__ndarray__" in fields else fields

    return json.loads(content[start:], object_hook=array)


def _read_array(content: bytes, shape: list[int], kind: str, offset: int, order: Literal["<", ">"] = "<") -> np.ndarray:
    dtype = np.dtype(kind).newbyteorder(order)
    if dtype.kind not in "fiub":
        raise DataError(f"an array of {kind!r:.40}: labels are numbers")
    count = int(np.prod(shape, dtype=object))
    return np.frombuffer(content, dtype, count, int(offset)).reshape(shape)


def parse_aselmdb(document: Document) -> Iterator[Entry]:
    """The rows of an LMDB database of ASE (fairchem's, such as OMat24): zlib's streams of JSON by their number."""
    with (
        document.on_disk() as path,
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        rows = {int(key): (start, size) for key, start, size in places(content) if key.isdigit()}
        budget = Budget(len(content), document.name)
        for number, (start, size) in sorted(rows.items()):
            yield _lmdb_entry(str(number), content[start : start + size], budget)


def _lmdb_entry(key: str, packed: bytes, budget: Budget) -> Entry:
    try:
        content = zlib.decompressobj().decompress(packed, MAX_ENTRY + 1)
        budget.take(len(content))
        if len(content) > MAX_ENTRY:
            raise DataError(f"a row of more than {MAX_ENTRY:,} bytes")
        fields = json.loads(content)
    except Exception as err:
        return key, DataError(f"unreadable row: {err!r}"), {}
    return ase_entry(key, fields)


def parse_traj(document: Document) -> Iterator[Entry]:
    """The frames of an ASE trajectory (Ulm files, https://wiki.fysik.dtu.dk/ase/ase/io/ulm.html)."""
    with document.on_disk() as path, path.open("rb") as file:
        size = path.stat().st_size
        if file.read(8) not in (b"- of Ulm", b"AFFormat") or file.read(16).rstrip() != b"ASE-Trajectory":
            raise DataError(
                "no trajectory of ASE 3.8 or later; older ones are pickled, and pickles execute what they hold"
            )
        _, count, start = (int(n) for n in np.frombuffer(file.read(24), "<i8"))
        file.seek(start)
        header: dict[str, Any] = {}
        for index, offset in enumerate(np.frombuffer(file.read(8 * min(count, size // 8)), "<i8", count)):
            try:
                frame = _ulm_item(file, int(offset), size)
            except Exception as err:
                yield str(index), DataError(f"unreadable frame: {err!r}"), {}
                continue
            header = header or {name: frame[name] for name in ("numbers", "pbc") if name in frame}
            calculated = frame.pop("calculator", {})
            frame = {name: value for name, value in frame.items() if name not in RESULTS}  # magmoms: the initial ones
            yield ase_entry(str(index), {**header, **frame, **calculated})


def _ulm_item(file: BinaryIO, offset: int, size: int) -> dict[str, Any]:
    file.seek(offset)
    length = int(np.frombuffer(file.read(8), "<i8")[0])
    if not 0 <= length <= min(size, MAX_ENTRY):
        raise DataError(f"{length} bytes of JSON")
    content = json.loads(file.read(length))
    order: Literal["<", ">"] = "<" if content.pop("_little_endian", True) else ">"

    def array(shape: list[int], kind: str, at: int) -> np.ndarray:
        file.seek(at)
        nbytes = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
        return _read_array(file.read(max(0, min(nbytes, size))), shape, kind, 0, order)

    return _unnested(content, array)


def _unnested(content: Mapping[str, Any], array: Callable[..., np.ndarray]) -> dict[str, Any]:
    """Fields whose names end with a dot are arrays elsewhere in the file, or have such fields of their own."""
    found = {}
    for name, value in content.items():
        if name.endswith("."):
            value = array(*value["ndarray"]) if "ndarray" in value else _unnested(value, array)
        found[name.removesuffix(".")] = value
    return found


def _array(value: Any) -> np.ndarray:
    """Numbers: of lists, or as ASE writes arrays and cells to JSON."""
    if isinstance(value, Mapping) and "array" in value:
        value = value["array"]
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, flat = value["__ndarray__"]
        return np.array(flat, dtype=float).reshape(shape)
    return np.array(value, dtype=float)


def _label(value: Any) -> Any:
    """A number, text, or an array of numbers; None for anything else."""
    if isinstance(value, (str, bool, int, float, np.generic)):
        return value
    try:
        return _array(value)
    except (TypeError, ValueError, OverflowError, KeyError):
        return None
