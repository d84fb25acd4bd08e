"""JSON: structures, rows, and lists of either, one a file or one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from monty.io import zopen

from matgl_ssl.crystals.layouts.entries import UTF8, Entry, text_of
from matgl_ssl.crystals.layouts.rows import row_entry


def parse_json(path: Path) -> Iterator[Entry]:
    """A structure, a row, or a list of either."""
    content = json.loads(text_of(path))
    if not isinstance(content, list):
        yield row_entry(content, "")
        return
    for index, item in enumerate(content):
        yield row_entry(item, str(index))


def parse_jsonl(path: Path) -> Iterator[Entry]:
    """One structure or row per line."""
    with zopen(path, mode="rt", encoding=UTF8) as lines:
        for index, line in enumerate(line for line in lines if line.strip()):
            try:
                row = json.loads(line)
            except ValueError as err:
                yield str(index), err, {}
                continue
            yield row_entry(row, str(index))
