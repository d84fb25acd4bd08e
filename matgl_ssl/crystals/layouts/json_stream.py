"""JSON of any size, one row at a time: MPtrj, Alexandria, WBM, and what pandas writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO

from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, Document
from matgl_ssl.crystals.layouts.rows import STRUCTURE_NAMES, is_row
from matgl_ssl.errors import DataError

_CHUNK = 1 << 16
_NO_JSON = re.compile(rb"(?<=[\s:,\[])-?(?:NaN|Infinity)(?=[\s,\]}])")
"""What Python and pandas write for missing numbers, and no JSON library but Python's reads."""
_TAIL = len(b" -Infinity ")
_DEPTH, _PIECE = 1000, 4096
_FIELDS = 100
_ASE = ("ids", "nextid", "metadata")
_LISTS = ("entries", "data", "structures")


def stream_rows(document: Document) -> Iterator[tuple[str, Any]]:
    """Keys and rows of a JSON file whose rows are too many to be held at once.

    A list; an object with a list of rows (``entries``, ``data``, ``structures``); pandas' orients ``split``,
    ``columns`` and ``index``; rows by their ids, or by two ids (MPtrj).

    Raises:
        DataError: If one row is larger than ``MAX_ENTRY`` bytes, or the file is no JSON.
    """
    import ijson

    try:
        yield from _rows(document)
    except (ijson.JSONError, UnicodeDecodeError) as err:
        raise DataError(f"{document.name}: no JSON, or damaged: {str(err).splitlines()[0]}") from err


def unfolded(row: Any) -> Any:
    """A computed entry of pymatgen with what it says in ``data`` beside its other fields (Alexandria)."""
    if not isinstance(row, Mapping) or not isinstance(row.get("data"), Mapping) or "structure" not in row:
        return row
    data = dict(row["data"])
    named = {"material_id": data["mat_id"]} if "mat_id" in data else {}
    return {**named, **data, **{name: value for name, value in row.items() if name != "data"}}


def _rows(document: Document) -> Iterator[tuple[str, Any]]:
    import ijson

    with _opened(document) as stream:
        events = ijson.basic_parse(stream, use_float=True)
        kind, first, inner = (next(events, ("", None)) for _ in range(3))
    if kind[0] == "start_array":
        yield from _numbered(_items(document, "item"))
    elif kind[0] != "start_map" or first[0] != "map_key":
        raise DataError(f"{document.name}: neither a list nor an object of rows")
    elif inner[0] == "start_map":
        yield from _nested(document, str(first[1]))
    else:
        yield from _listed(document)


def _nested(document: Document, first: str) -> Iterator[tuple[str, Any]]:
    """Rows by one id, by two, or columns of values by id, as the first of them says."""
    head = _head(document, first)
    if not (is_row(head) or any(map(is_row, head.values()))) or first in STRUCTURE_NAMES:
        places = _places(document)
        for cells in zip(*(_pairs(document, name, place) for name, place in places.items()), strict=True):
            yield cells[0][0], {name: value for name, (_, value) in zip(places, cells, strict=True)}
        return
    for key, value in _pairs(document, ""):
        if key in _ASE:  # an ASE database in JSON ends with them
            continue
        yield from [(key, value)] if is_row(value) or not isinstance(value, Mapping) else value.items()


def _head(document: Document, name: str) -> dict[str, Any]:
    """The first fields of what an outermost name holds."""
    import ijson

    pairs, events = ijson.sendable_list(), ijson.sendable_list()
    builder, parser = ijson.kvitems_coro(pairs, name, use_float=True), ijson.parse_coro(events, use_float=True)
    with _opened(document) as stream:
        while len(pairs) < _FIELDS and (name, "end_map", None) not in events and stream.position <= MAX_ENTRY:
            if not (chunk := stream.read()):
                break
            builder.send(chunk)
            events.clear()
            parser.send(chunk)
    return dict(pairs[:_FIELDS])


def _listed(document: Document) -> Iterator[tuple[str, Any]]:
    """Rows in a list, with the names of their columns beside them (pandas) or not."""
    places = _places(document)
    lists = {name: place for name, place in places.items() if place.event == "start_array"}
    name = next((name for name in _LISTS if name in lists), None)
    if name is None:
        raise DataError(f"{document.name}: no list called {', '.join(_LISTS)} among {list(places)!r:.200}")
    rows = _items(document, f"{name}.item", lists[name])
    if "columns" not in lists:
        yield from _numbered(rows)
        return
    columns = list(_items(document, "columns.item", lists["columns"]))
    index = _items(document, "index.item", lists["index"]) if "index" in lists else map(str, count())
    for key, row in zip(index, rows, strict=False):
        yield str(key), dict(zip(columns, row, strict=True)) if len(row) == len(columns) else row


def _numbered(rows: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(index), row) for index, row in enumerate(rows))


@dataclass
class _Place:
    """Where the value of an outermost name is: the event it begins with, and bytes between which it stands."""

    event: str = ""
    start: int = 0
    end: int = 1 << 62


def _places(document: Document) -> dict[str, _Place]:
    import ijson

    found: dict[str, _Place] = {}
    place = _Place()
    with _opened(document) as stream:
        depth = 0
        for event, value in ijson.basic_parse(stream, use_float=True):
            stream.begin_entry()
            if depth == 1 and event == "map_key":
                place = found[value] = _Place(start=stream.position - 2 * _CHUNK)
            elif depth == 1 and not event.startswith("end"):
                place.event = event
            depth += event.startswith("start") - event.startswith("end")
            if depth == 1:
                place.end = stream.position
    return found


def _items(document: Document, prefix: str, place: _Place | None = None) -> Iterator[Any]:
    import ijson

    return _built(document, lambda stream: ijson.items(stream, prefix, use_float=True), place)


def _pairs(document: Document, prefix: str, place: _Place | None = None) -> Iterator[tuple[str, Any]]:
    import ijson

    return _built(document, lambda stream: ijson.kvitems(stream, prefix, use_float=True), place)


def _built(document: Document, build: Callable[[_Stream], Iterator[Any]], place: _Place | None) -> Iterator[Any]:
    with _opened(document, place or _Place()) as stream:
        items = build(stream)
        while True:
            try:
                item = next(items)
            except (StopIteration, EOFError):
                return
            stream.begin_entry()
            yield item


class _Stream:
    """What ijson reads from: JSON without Python's extensions, no more than ``MAX_ENTRY`` bytes of it for one row.

    What stands before a place counts for no row; what comes after it is not read.
    """

    def __init__(self, stream: BinaryIO, place: _Place) -> None:
        self._stream, self._place, self._since, self._depth, self.position = stream, place, 0, 0, 0
        mark = stream.read(3)
        self._rest = b"" if mark == b"\xef\xbb\xbf" else mark

    def begin_entry(self) -> None:
        self._since = 0

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        if self.position > self._place.end + 2 * _CHUNK:
            raise EOFError
        chunk = self._stream.read(_CHUNK)
        self.position += len(chunk)
        self._since += len(chunk) * (self.position >= self._place.start)
        if self._since > MAX_ENTRY + 4 * _CHUNK:
            raise DataError(f"one row of more than {MAX_ENTRY:,} bytes")
        for start in range(0, len(chunk), _PIECE):  # ijson keeps a path for each level: a million would fill memory
            piece = chunk[start : start + _PIECE]
            opened, closed = (piece.count(pair[:1]) + piece.count(pair[1:]) for pair in (b"[{", b"]}"))
            self._depth += opened - closed
            if self._depth > _DEPTH:
                raise DataError(f"nested more than {_DEPTH} times: no layout of this field nests more than ten")
        text = _NO_JSON.sub(b"null", self._rest + chunk)
        cut = max(0, len(text) - _TAIL) if chunk else len(text)
        self._rest = text[cut:]
        return text[:cut] or (self.read() if chunk else b"")


@contextmanager
def _opened(document: Document, place: _Place | None = None) -> Iterator[_Stream]:
    with document.open() as stream:
        yield _Stream(stream, place or _Place())
