"""JSON: structures, rows, and lists of either, one a file or one a line."""

from __future__ import annotations

from collections.abc import Iterator

from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, UTF8, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_rows import json_entries, keyed_entry
from matgl_ssl.crystals.layouts.json_stream import stream_rows, unfolded
from matgl_ssl.crystals.layouts.plain import parsed
from matgl_ssl.errors import DataError


def parse_json(document: Document) -> Iterator[Entry]:
    """Structures and rows, in any of the forms that ``json_entries`` knows; large files are never in memory whole."""
    text = document.start(MAX_ENTRY + 1)
    if len(text) <= MAX_ENTRY:
        yield from json_entries(parsed(text.decode(UTF8)))
        return
    del text
    for key, row in stream_rows(document):
        yield keyed_entry(key, unfolded(row))


def parse_jsonl(document: Document) -> Iterator[Entry]:
    """One structure or row per line."""
    for index, line in enumerate(line for line in document.lines() if line.strip()):
        try:
            row = parsed(line)
        except DataError as err:
            yield str(index), err, {}
            continue
        yield keyed_entry(str(index), row)
