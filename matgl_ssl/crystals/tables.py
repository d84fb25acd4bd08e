"""Tables on disk as memory-mapped Arrow: converted once, and known by what is in them, not by name and time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import datasets
import pyarrow as pa
from datasets.table import MemoryMappedTable

from matgl_ssl._files import digest, file_digest
from matgl_ssl._seals import is_whole, sealed_path
from matgl_ssl.crystals.bombs import arrow_rows, arrow_stream, parquet_rows
from matgl_ssl.errors import DataError

_ROWS = 4096


def cache_directory() -> Path:
    """Where tables that were converted or computed lie: ``matgl_ssl/`` in Hugging Face ``datasets``' cache."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "matgl_ssl"


def table_columns(file: Path) -> list[str]:
    """The columns of a Parquet or Arrow file."""
    with _opened(file) as (schema, _):
        return list(schema.names)


def read_tables(files: Sequence[Path], columns: Sequence[str] | None) -> datasets.Dataset:
    """Parquet or Arrow files, one after the other, as one table that stays on disk.

    The files' metadata is left behind: Hugging Face's libraries would look there for what to decode, or to fetch.

    Args:
        files: The files. The columns of the first, and their types, are those of all.
        columns: What to read; all by default.

    Raises:
        NotWrittenError: If the cache cannot be written.
    """

    def batches() -> Iterator[pa.Table]:
        with _opened(files[0], columns) as (schema, _):
            schema = schema.remove_metadata()
        yield schema.empty_table()
        for batch in file_batches(files, columns):
            yield batch.select(schema.names).cast(schema)

    return cached_table(files_key(files, columns), batches)


def files_key(files: Sequence[Path], columns: Sequence[str] | None, *more: str) -> str:
    """What names the rows of these files in the cache: their content, the columns, and what else makes them."""
    return digest([*map(file_digest, files), repr(columns), *more], 24)


def file_batches(files: Sequence[Path], columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """The rows of Parquet or Arrow files, a few thousand at a time."""
    for file in files:
        with _opened(file, columns) as (_, batches):
            for batch in batches:
                table = pa.Table.from_batches([batch])
                yield table if columns is None else table.select(list(columns))


def cached_file(key: str) -> Path:
    """Where a table of the cache lies, or would."""
    return cache_directory() / "tables" / f"{key}.arrow"


def cached_table(key: str, batches: Callable[[], Iterator[pa.Table]]) -> datasets.Dataset:
    """A table that stays on disk, in the cache, written there once, and again if it was damaged.

    Args:
        key: What names it.
        batches: Gives its rows, if they are not there. The first batch says the columns; it may be empty.

    Raises:
        NotWrittenError: If the cache cannot be written.
    """
    cached = cached_file(key)
    if not is_whole(cached):
        with sealed_path(cached) as partial:
            rows = batches()
            first = next(rows)
            with pa.ipc.new_stream(str(partial), first.schema) as sink:
                for batch in chain([first], rows):
                    sink.write_table(batch)
    return datasets.Dataset(MemoryMappedTable.from_file(str(cached)), fingerprint=key[:16])


def in_order(table: datasets.Dataset) -> datasets.Dataset:
    """The rows of a selection as a table of its own: on disk, in the cache, if the whole is on disk."""
    if table._indices is None:
        return table
    arrow = table.with_format("arrow")
    if not table.cache_files:
        return arrow.flatten_indices(keep_in_memory=True).with_format(None)
    # The same as datasets' ``flatten_indices``, which believes whatever lies in its own cache.
    return cached_table(digest(["rows", table._fingerprint], 24), lambda: arrow.iter(_ROWS))


@contextmanager
def _opened(file: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema and the rows of a file, in batches."""
    with pa.memory_map(str(file)) as source:
        if file.suffix.lower() == ".parquet":
            schema, batches = parquet_rows(source, file, columns, _ROWS)
        else:
            schema, batches = arrow_rows(source, file)
        yield schema if columns is None else pa.schema([schema.field(name) for name in columns]), batches


def check_arrow(file: Path) -> None:
    """Refuse an Arrow file that would fill the memory when it is opened.

    Raises:
        DataError: If it would.
    """
    with pa.memory_map(str(file)) as source:
        if any(map(pa.types.is_dictionary, arrow_stream(source, file).schema.types)):
            raise DataError(f"{file} has dictionaries, which datasets cannot read.")


def refuse_elsewhere(record: Path, names: Sequence[str]) -> None:
    """Refuse a record that names files which do not lie beside it.

    Raises:
        DataError: If one does not.
    """
    if outside := [name for name in names if name != Path(name).name or name in ("", ".", "..")]:
        raise DataError(f"{record} names {outside[0]!r:.80}, which does not lie beside it.")


def load_saved(folder: Path) -> datasets.Dataset | datasets.DatasetDict:
    """What ``save_to_disk`` wrote into a folder.

    Raises:
        DataError: If its records name files elsewhere, or it cannot be read.
    """
    try:
        for record in folder.rglob("*.json"):
            content = json.loads(record.read_text(encoding="utf-8"))
            files = [each["filename"] for each in content["_data_files"]] if record.name == "state.json" else []
            splits = content["splits"] if record.name == "dataset_dict.json" else []
            refuse_elsewhere(record, [*files, *splits])
            for name in files:
                check_arrow(record.parent / name)
        return datasets.load_from_disk(folder)
    except (ValueError, KeyError, TypeError, RecursionError, FileNotFoundError, pa.ArrowException) as err:
        if isinstance(err, DataError):
            raise
        raise DataError(f"{folder} is not what save_to_disk writes: {type(err).__name__}: {err}") from err
