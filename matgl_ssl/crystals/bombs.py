"""Tables that would fill the memory: some kilobytes that unpack to gigabytes. What packs well can be anything.

Crystals pack ten times. A file tells what it unpacks to before it is unpacked: Parquet in its footer, Arrow before each
buffer (https://arrow.apache.org/docs/format/Columnar.html#recordbatch-message).
"""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from matgl_ssl.errors import DataError

_SMALL, _RATIO = 2**28, 1000
"""Bytes that any table may hold, and how many times as many as its file."""
_MARK = b"ARROW1"
_NODES, _BUFFERS, _COMPRESSION = 1, 2, 3
"""Numbers of a batch's fields."""


def check_parquet(metadata: pq.FileMetaData, file: Path) -> None:
    """Refuse a Parquet file that unpacks to more than it may.

    Raises:
        DataError: If it does.
    """
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    _refuse(sum(chunk.total_uncompressed_size for chunk in chunks), sum(chunk.num_values for chunk in chunks), file)


def arrow_stream(source: pa.NativeFile, file: Path) -> pa.RecordBatchStreamReader:
    """Open an Arrow stream or file (Feather), which is a stream between two marks, unless it unpacks to too much.

    Raises:
        DataError: If it does.
        ArrowInvalid: If it is neither.
    """
    start = 8 if source.read(len(_MARK)) == _MARK else 0
    source.seek(start)
    unpacked = values = 0
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.type in ("record batch", "dictionary"):
            held, n = _content(message)
            unpacked, values = unpacked + held, values + n
    _refuse(unpacked, values, file)
    source.seek(start)
    return pa.ipc.open_stream(source)


def _refuse(unpacked: int, values: int, file: Path) -> None:
    unpacked, size = max(unpacked, 8 * values), file.stat().st_size
    if unpacked > _SMALL + _RATIO * size:
        raise DataError(
            f"{file}: {unpacked / 1e9:.1f} GB in {size / 1e6:.1f} MB, more than {_RATIO} times as much: this is no "
            "table of crystals. Write it again with less compression if it is."
        )


def _content(message: pa.Message) -> tuple[int, int]:
    """Bytes that a message's buffers unpack to, and how many values its columns promise."""
    head, body = message.metadata.to_pybytes(), message.body
    try:
        batch = _pointed(head, _field(head, _pointed(head, 0), 2))
        if message.type == "dictionary":
            batch = _pointed(head, _field(head, batch, 1))
        values = sum(length for length, _ in _pairs(head, _field(head, batch, _NODES)))
        buffers = _pairs(head, _field(head, batch, _BUFFERS))
        if not _field(head, batch, _COMPRESSION):
            return sum(length for _, length in buffers), values
        starts = (bytes(body.slice(offset, 8)) for offset, length in buffers if length >= 8)
        return sum(struct.unpack("<q", start)[0] for start in starts), values
    except struct.error as err:
        raise pa.ArrowInvalid(f"a damaged batch: {err}") from err


def _pointed(head: bytes, at: int) -> int:
    """Where an offset in a flatbuffer leads to."""
    return int(at + struct.unpack_from("<I", head, at)[0])


def _field(head: bytes, table: int, number: int) -> int:
    """Where a table's field lies; 0 if it is left out."""
    names = table - struct.unpack_from("<i", head, table)[0]
    (size,) = struct.unpack_from("<H", head, names)
    offset = struct.unpack_from("<H", head, names + 4 + 2 * number)[0] if 4 + 2 * number < size else 0
    return table + offset if offset else 0


def _pairs(head: bytes, field: int) -> list[tuple[int, int]]:
    """A vector of pairs of 64-bit numbers."""
    if not field:
        return []
    start = _pointed(head, field)
    (count,) = struct.unpack_from("<I", head, start)
    numbers = struct.unpack_from(f"<{2 * min(count, len(head))}q", head, start + 4)
    return list(zip(numbers[::2], numbers[1::2], strict=True))
