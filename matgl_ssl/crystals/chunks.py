"""Tables in pieces for worker processes, as Arrow streams: a pickled slice would carry the whole table's buffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.table import InMemoryTable

from matgl_ssl.crystals.checks import check_dataset
from matgl_ssl.crystals.report import CheckReport
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.errors import NothingLeftError


def streams(table: datasets.Dataset, size: int, rows: range | None = None) -> Iterator[bytes]:
    """The rows of a table, all by default, ``size`` at a time."""
    arrow, rows = table.with_format("arrow"), range(len(table)) if rows is None else rows
    return (written(arrow[start : min(start + size, rows.stop)]) for start in range(rows.start, rows.stop, size))


def n_chunks(n: int, size: int) -> int:
    """How many that are."""
    return -(-n // size)


def written(rows: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows.combine_chunks())  # each row of a selection is a chunk
    return sink.getvalue().to_pybytes()


def read(stream: bytes) -> pa.Table:
    """Take it back."""
    return pa.ipc.open_stream(stream).read_all()


def as_crystals(rows: pa.Table) -> CrystalDataset:
    """The crystals of a table in memory."""
    return CrystalDataset(datasets.Dataset(InMemoryTable(rows)), source="rows")


def passing(crystals: CrystalDataset, **limits: Any) -> tuple[np.ndarray, CheckReport]:
    """The rows of a table in memory that pass ``check_dataset``, maybe none, and its report."""
    try:
        good, report = check_dataset(crystals, **limits)
    except NothingLeftError as err:
        return np.zeros(0, dtype=np.int64), err.report
    chosen = good.table._indices
    return (np.arange(len(crystals)) if chosen is None else chosen.column(0).to_numpy()), report
