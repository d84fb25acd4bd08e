"""Arrow's messages: what a batch unpacks to, read before it is unpacked.

The format is https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc; its
headers are flatbuffers, of which a few fields are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

_NODES, _BUFFERS, _COMPRESSION = 1, 2, 3
"""Numbers of a batch's fields."""
_DICTIONARIES, _BATCHES = 2, 3
"""Numbers of those of a file's end."""


def listed(source: pa.NativeFile, size: int) -> Iterator[pa.Message]:
    """The messages that the end of an Arrow file of ``size`` bytes lists.

    Raises:
        ArrowInvalid: If it is damaged.
    """
    try:
        source.seek(max(size - 10, 0))
        (length,) = struct.unpack("<i4x2x", source.read(10))
        source.seek(size - 10 - length)
        end = source.read(length)
        blocks = [
            block
            for number in (_DICTIONARIES, _BATCHES)
            for block in _structs(end, _field(end, _pointed(end, 0), number), "qi4xq")
        ]
    except (struct.error, ValueError) as err:
        raise pa.ArrowInvalid(f"a damaged end: {err}") from err
    for offset, _, _ in blocks:
        source.seek(offset)
        yield pa.ipc.read_message(source)


def content(message: pa.Message) -> tuple[int, int]:
    """Bytes that a message's buffers unpack to, and how many values its columns promise.

    Raises:
        ArrowInvalid: If it is damaged.
    """
    head, body = message.metadata.to_pybytes(), message.body
    try:
        batch = _pointed(head, _field(head, _pointed(head, 0), 2))
        if message.type == "dictionary":
            batch = _pointed(head, _field(head, batch, 1))
        values = sum(length for length, _ in _structs(head, _field(head, batch, _NODES), "qq"))
        buffers = _structs(head, _field(head, batch, _BUFFERS), "qq")
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


def _structs(head: bytes, field: int, layout: str) -> list[tuple[int, ...]]:
    """A vector of structs."""
    if not field:
        return []
    start = _pointed(head, field)
    (count,) = struct.unpack_from("<I", head, start)
    size = struct.calcsize(f"<{layout}")
    return list(struct.iter_unpack(f"<{layout}", head[start + 4 : start + 4 + count * size]))
