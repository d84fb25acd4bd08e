"""JSON: structures, rows, and lists of either, one a file or one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from matgl_ssl.crystals.layouts.documents import UTF8, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.rows import row_entry


def parse_json(document: Document) -> Iterator[Entry]:
    """A structure, a row, or a list of either."""
    with document.open() as stream:
        content = json.loads(stream.read().decode(UTF8))
    if not isinstance(content, list):
        yield row_entry(content, "")
        return
    for index, item in enumerate(content):
        yield row_entry(item, str(index))


def parse_jsonl(document: Document) -> Iterator[Entry]:
    """One structure or row per line."""
    for index, line in enumerate(line for line in document.lines() if line.strip()):
        try:
            row = json.loads(line)
        except ValueError as err:
            yield str(index), err, {}
            continue
        yield row_entry(row, str(index))
