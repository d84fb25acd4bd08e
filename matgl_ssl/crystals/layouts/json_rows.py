"""Rows out of what a JSON file holds: a list of them, or one of the ways in which pandas and others nest them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from matgl_ssl.crystals.layouts.ase_files import ase_entry
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_stream import unfolded
from matgl_ssl.crystals.layouts.rows import is_row, row_entry


def json_entries(content: Any) -> Iterator[Entry]:
    """The entries of JSON: one structure or row, or many in any of these forms.

    A list; pandas' orients ``split`` (matbench), ``table``, ``columns``, ``index`` and ``list``; an OPTIMADE response;
    ``{"entries": [...]}`` of computed entries; a mapping from ids to structures, rows, or mappings to them (MPtrj).
    """
    return (keyed_entry(key, unfolded(row)) for key, row in _rows(content))


def keyed_entry(key: str, row: Any) -> Entry:
    """The entry of a row that its file knows by a key, which is its id unless it only counts."""
    name = None if key.isdecimal() or not key else key
    if isinstance(row, Mapping) and isinstance(row.get("attributes"), Mapping):  # OPTIMADE
        row = {"id": row.get("id"), **row["attributes"]}
    if isinstance(row, Mapping) and {"numbers", "positions", "cell", "pbc"} <= {*row}:  # a row of an ASE database
        return ase_entry(key, row)
    return row_entry(row, "" if name else key, name)


def _rows(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list):
        return _numbered(content)
    if isinstance(content, Mapping) and _are_columns(content):
        return _numbered(dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True))
    if not isinstance(content, Mapping) or is_row(content):
        return iter([("", content)])
    data, columns = content.get("data"), content.get("columns")
    if isinstance(data, list) and isinstance(columns, list):
        names = content.get("index")
        names = names if isinstance(names, list) and len(names) == len(data) else range(len(data))
        return ((str(name), _split_row(columns, row)) for name, row in zip(names, data, strict=True))
    for many in (data, content.get("entries")):
        if isinstance(many, list):
            return _numbered(many)
    if isinstance(data, Mapping):
        return iter([("", data)])
    return _nested(content)


def _nested(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Rows of a mapping of mappings."""
    first = next(iter(content.values()), None)
    if isinstance(first, Mapping) and not is_row(first):
        key = next(iter(first), None)
        columns = {name: values for name, values in content.items() if isinstance(values, Mapping)}
        if is_row({name: values.get(key) for name, values in columns.items()}):
            return ((key, {name: values.get(key) for name, values in columns.items()}) for key in first)
        if is_row(first.get(key)):
            return (item for inner in columns.values() for item in inner.items())
    if isinstance(first, Mapping):
        return ((key, row) for key, row in content.items() if isinstance(row, Mapping))  # ASE adds a list of ids
    return iter([("", content)])


def _split_row(columns: list[str], row: Any) -> Any:
    whole = isinstance(row, list) and len(row) == len(columns)
    return dict(zip(columns, row, strict=True)) if whole else row


def _are_columns(content: Mapping[str, Any]) -> bool:
    """Whether a mapping holds a table's columns; the fields of one structure may be equally long lists, too."""
    if not content or any(not isinstance(values, (list, tuple)) or not values for values in content.values()):
        return False
    row = {name: values[0] for name, values in content.items()}
    numbers = row.get("numbers", row.get("elements", []))
    return len({len(values) for values in content.values()}) == 1 and is_row(row) and hasattr(numbers, "__len__")


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(index), row) for index, row in enumerate(rows))
