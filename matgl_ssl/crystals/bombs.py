"""Tables that would fill the memory: some kilobytes that unpack to gigabytes. What packs well can be anything.

Crystals pack ten times. A file tells what it unpacks to before it is unpacked: Parquet in its footer, Arrow before each
buffer (see ``arrow_messages``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matgl_ssl.crystals.arrow import is_list
from matgl_ssl.crystals.arrow_messages import content, listed
from matgl_ssl.errors import DataError

_SMALL, _RATIO = 2**28, 1000
"""Bytes that any table may hold, and how many times as many as its file."""
_MARK = b"ARROW1"
_TEXTS = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)


def parquet_rows(
    source: pa.NativeFile, file: Path, columns: Sequence[str] | None, rows: int
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the rows of a Parquet file, in batches.

    Text is read with its dictionary first: a text of a megabyte takes four bytes each time that it is repeated.

    Raises:
        DataError: If it unpacks to more than it may; also between the batches.
    """
    footer = pq.ParquetFile(source).metadata
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    _refuse(sum(chunk.total_uncompressed_size for chunk in chunks), sum(chunk.num_values for chunk in chunks), file)
    leaves = [footer.schema.column(i) for i in range(footer.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    # Checksums are looked at where whoever wrote the file gave them.
    table = pq.ParquetFile(source, read_dictionary=texts, page_checksum_verification=True)
    # Row groups have dictionaries of their own, and Arrow reads texts within lists from one at a time.
    each = (table.iter_batches(rows, row_groups=[group], columns=columns) for group in range(len(groups)))
    return _plain(table.schema_arrow), _filled(chain.from_iterable(each), file)


def arrow_rows(source: pa.NativeFile, file: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The same of an Arrow stream or file.

    Raises:
        DataError: If it unpacks to more than it may; also between the batches.
        ArrowInvalid: If it is neither, or a batch is not what it says.
    """
    if source.read(len(_MARK)) != _MARK:
        stream = arrow_stream(source, file)
        return _plain(stream.schema), _filled(stream, file)
    _refuse(*_sum(listed(source, file.stat().st_size)), file)
    whole = pa.ipc.open_file(source)
    return _plain(whole.schema), _filled(map(whole.get_batch, range(whole.num_record_batches)), file)


def arrow_stream(source: pa.NativeFile, file: Path) -> pa.RecordBatchStreamReader:
    """Open an Arrow stream, unless it unpacks to too much.

    Raises:
        DataError: If it does.
        ArrowInvalid: If it is none.
    """
    source.seek(0)
    _refuse(*_sum(pa.ipc.MessageReader.open_stream(source)), file)
    source.seek(0)
    return pa.ipc.open_stream(source)


def _sum(messages: Iterable[pa.Message]) -> tuple[int, int]:
    """Bytes that messages unpack to, and values that they promise."""
    found = [content(message) for message in messages if message.type in ("record batch", "dictionary")]
    return sum(held for held, _ in found), sum(values for _, values in found)


def _filled(batches: Iterable[pa.RecordBatch], file: Path) -> Iterator[pa.RecordBatch]:
    """Batches without dictionaries: what stands there once is repeated, if that is not too much."""
    repeated = 0
    for batch in batches:
        batch.validate(full=True)
        repeated += sum(map(_repeated, batch.columns))
        _refuse(repeated, 0, file)
        plain = _plain(batch.schema)
        yield batch if plain == batch.schema else batch.cast(plain)


def _repeated(column: pa.Array) -> int:
    """Bytes that a column's dictionaries take once they are filled in."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if pa.types.is_string_view(column.type):
        views = np.frombuffer(column.buffers()[1] or b"", np.int32).reshape(-1, 4)  # each begins with its length
        return int(views[column.offset : column.offset + len(column), 0].sum(dtype=np.int64))
    if pa.types.is_dictionary(column.type):
        values = column.dictionary
        if any(known(values.type) for known in _TEXTS):
            return int(pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0)
        return len(column) * (8 if pa.types.is_primitive(values.type) else values.nbytes)
    if pa.types.is_map(column.type):
        return _repeated(column.keys) + _repeated(column.items)
    if is_list(column.type):
        return _repeated(column.flatten())
    return sum(map(_repeated, column.flatten())) if pa.types.is_struct(column.type) else 0


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """A type in which nothing is shared: without dictionaries and views."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if is_list(kind):
        inner = kind.value_field.with_type(_plain_type(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        return pa.large_list(inner) if pa.types.is_large_list(kind) else pa.list_(inner)
    return kind


def _refuse(unpacked: int, values: int, file: Path) -> None:
    unpacked, size = max(unpacked, 8 * values), file.stat().st_size
    if unpacked > _SMALL + _RATIO * size:
        raise DataError(
            f"{file}: {unpacked / 1e9:.1f} GB in {size / 1e6:.1f} MB, more than {_RATIO} times as much: this is no "
            "table of crystals. Write it again with less compression if it is."
        )
