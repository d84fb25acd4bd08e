"""Python objects that hold crystals: structures, pairs, mappings, data frames, and whatever gives them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from matgl_ssl.crystals.conversion import wanted_columns
from matgl_ssl.crystals.kinds import UNNAMED
from matgl_ssl.crystals.layouts.atoms import atoms_labels
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_rows import json_entries
from matgl_ssl.crystals.layouts.rows import id_of, row_entry
from matgl_ssl.crystals.layouts.values import holds_structure, is_structure
from matgl_ssl.crystals.storage import ID_COLUMN
from matgl_ssl.errors import DataError


def object_entries(source: Any, columns: Sequence[str] | None) -> Iterator[Entry]:
    """The entries of a Python object.

    Args:
        source: A structure; a pandas or polars data frame; an open ASE database; a mapping of columns, or the mapping
            of a structure or row; or an iterable of structures, rows, or pairs of a structure and its label or labels.
        columns: The labels that are wanted; all by default. No other columns of a data frame are looked at.

    Raises:
        DataError: If it is none of these, or an item of it is not.
    """
    library = type(source).__module__.partition(".")[0]
    if is_structure(source):
        source = [source]
    if library == "pandas":
        return _of_pandas(source, columns)
    if library == "polars":
        return _of_polars(source, columns)
    if library == "ase" and hasattr(source, "select"):
        return _of_database(source)
    if isinstance(source, Mapping):
        return json_entries({name: _listed(values) for name, values in source.items()})
    if not isinstance(source, Iterable):
        raise DataError(f"cannot read crystals from a {type(source).__name__}")
    return (_of_item(item, str(index)) for index, item in enumerate(source))


def _of_item(item: Any, key: str) -> Entry:
    if isinstance(item, Mapping):
        return row_entry(item, key)
    labels: dict[str, Any] = {}
    if isinstance(item, tuple) and len(item) == 2:
        item, given = item
        labels = dict(given) if isinstance(given, Mapping) else {UNNAMED: given}
    if not holds_structure(item):
        wanted = "a Crystal, a structure of pymatgen, ASE atoms, a row, or a pair of one and its label"
        raise DataError(f"entry {key} is a {type(item).__name__}; expected {wanted}")
    return _with_labels(item, key, labels)


def _with_labels(item: Any, key: str, labels: Mapping[str, Any]) -> Entry:
    from ase import Atoms

    own = atoms_labels(item) if isinstance(item, Atoms) else {}
    _, structure, _ = row_entry({"structure": item}, key)
    name = id_of(labels) or getattr(item, "id", None) or None
    return ("" if name else key), structure, {**own, **labels, ID_COLUMN: name}


def _of_database(database: Any) -> Iterator[Entry]:
    for row in database.select():
        yield _with_labels(row.toatoms(), str(row.id), row.key_value_pairs)


def _of_pandas(frame: Any, columns: Sequence[str] | None) -> Iterator[Entry]:
    """A frame's index names its rows, unless it only counts them; a series is one column of structures."""
    if not hasattr(frame, "columns"):
        frame = frame.to_frame("structure")
    names = [str(name) for name in frame.columns]
    numbered = frame.index.dtype.kind in "iu"
    wanted = wanted_columns(names, columns, "the data frame")
    values = {name: _listed(frame.iloc[:, names.index(name)]) for name in (names if wanted is None else wanted)}
    for key, *row in zip(map(str, frame.index), *values.values(), strict=True):
        yield row_entry(dict(zip(values, row, strict=True)), key, None if numbered else key)


def _of_polars(frame: Any, columns: Sequence[str] | None) -> Iterator[Entry]:
    frame = frame.collect() if hasattr(frame, "collect") else frame
    wanted = wanted_columns(frame.columns, columns, "the data frame")
    for index, row in enumerate((frame if wanted is None else frame.select(wanted)).iter_rows(named=True)):
        yield row_entry(row, str(index))


def _listed(values: Any) -> Any:
    """A column as a list, with None for what pandas takes to be missing."""
    if hasattr(values, "notna"):
        return values.astype(object).where(values.notna(), None).tolist()
    return values.tolist() if hasattr(values, "tolist") else values
