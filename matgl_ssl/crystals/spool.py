"""Many crystals into a table on disk, a few thousand of them in memory at a time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from matgl_ssl._files import scratch_folder
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.crystals.tables import cache_directory, cached_table
from matgl_ssl.errors import DataError
from matgl_ssl.progress import track

logger = logging.getLogger(__name__)

BATCH = 4096


def spooled(crystals: Iterable[Crystal], source: str, asked: Collection[str] | None = None) -> CrystalDataset:
    """A table of crystals: in memory if it is one batch, else memory-mapped from the cache, under its content's hash.

    Args:
        crystals: The crystals with their labels, as they come.
        source: Where they come from.
        asked: Labels whose values must be of one kind; all by default. Others are left out with a warning.

    Raises:
        DataError: If the values of such a label are of different kinds.
        NotWrittenError: If the cache cannot be written.
    """
    waiting = track(crystals, f"reading {source}")
    first = list(islice(waiting, BATCH + 1))
    if len(first) <= BATCH:
        return CrystalDataset.from_crystals(first, source=source, asked=asked)
    waiting = chain(first, waiting)
    del first
    with scratch_folder(cache_directory(), "spool") as folder:
        pieces: list[Path] = []
        schemas: list[pa.Schema] = []
        content = hashlib.sha256()
        while batch := list(islice(waiting, BATCH)):
            table = CrystalDataset.from_crystals(batch, source=source, asked=asked).table.with_format("arrow")[:]
            schemas.append(table.schema.remove_metadata())
            pieces.append(_written(folder / f"{len(pieces)}.arrow", table))
            content.update(pieces[-1].read_bytes())
        schema = _common(schemas, source, asked)
        return CrystalDataset(cached_table(content.hexdigest()[:24], lambda: _joined(pieces, schema)), source=source)


def _common(schemas: list[pa.Schema], source: str, asked: Collection[str] | None) -> pa.Schema:
    """All columns, in the types that hold what any piece has."""
    columns: dict[str, pa.Schema] = {}
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        own = [pa.schema([schema.field(name)]) for schema in schemas if name in schema.names]
        try:
            columns[name] = pa.unify_schemas(own, promote_options="permissive")
        except pa.ArrowException as err:
            message = f"{source}: the values of label {name!r} are of different kinds: {err}"
            if asked is None or name in asked:
                raise DataError(message) from err
            logger.warning("%s. The label is left out.", message)
    return pa.unify_schemas(list(columns.values()))


def _written(path: Path, table: pa.Table) -> Path:
    with pa.ipc.new_stream(str(path), table.schema.remove_metadata()) as sink:
        sink.write_table(table)
    return path


def _joined(pieces: list[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """The pieces with all columns, in the types that hold what any piece has."""
    for piece in pieces:
        with pa.memory_map(str(piece)) as file:
            table = pa.ipc.open_stream(file).read_all()
            for name in schema.names:
                if name not in table.column_names:
                    table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
            yield table.select(schema.names).cast(schema)
