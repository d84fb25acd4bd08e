"""JSON: structures, rows, and lists of either, one a file or one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from matgl_ssl.crystals.layouts.ase_files import ase_entry
from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, UTF8, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.json_stream import stream_rows, unfolded
from matgl_ssl.crystals.layouts.rows import row_entry


def parse_json(document: Document) -> Iterator[Entry]:
    """A structure, a row, or many in any of the forms that ``stream_rows`` knows."""
    text = document.start(MAX_ENTRY + 1)
    if len(text) <= MAX_ENTRY:
        content = json.loads(text.decode(UTF8))
        if isinstance(content, dict) and {"lattice", "structure", "numbers"} & {*content}:
            yield row_entry(unfolded(content), "")
            return
    del text
    for key, row in stream_rows(document):
        ase = isinstance(row, dict) and {"numbers", "positions", "cell"} <= {*row}
        yield ase_entry(key, row) if ase else row_entry(unfolded(row), key)


def parse_jsonl(document: Document) -> Iterator[Entry]:
    """One structure or row per line."""
    for index, line in enumerate(line for line in document.lines() if line.strip()):
        try:
            row = json.loads(line)
        except ValueError as err:
            yield str(index), err, {}
            continue
        yield row_entry(row, str(index))
