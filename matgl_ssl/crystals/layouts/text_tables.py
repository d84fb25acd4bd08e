"""CSV and TSV: separators, headers, and rows as they are written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from matgl_ssl.crystals.kinds import UNNAMED, Untyped, is_number
from matgl_ssl.crystals.layouts.documents import MAX_ENTRY, Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.rows import row_entry
from matgl_ssl.crystals.storage import ID_COLUMN
from matgl_ssl.errors import DataError

Row = dict[str, Any] | DataError
"""The values of a row by column; or what is wrong with it."""


def parse_csv(document: Document) -> Iterator[Entry]:
    """Rows of a table with a structure in each: a CIF, a POSCAR or JSON in a column, or several columns."""
    index = -1
    for index, row in enumerate(text_rows(document)):
        yield (str(index), row, {}) if isinstance(row, DataError) else row_entry(row, str(index))
    if index < 0:
        raise DataError("the table has no rows")


def text_rows(document: Document) -> Iterator[Row]:
    """The rows of a CSV or TSV file, whatever separates their values.

    The first row is a header if none of its values is a number. In a table without one the first column names the
    crystals, and the other one is called ``unnamed``, or the others ``unnamed_1`` and so on.

    Raises:
        DataError: If the file is no such table.
    """
    csv.field_size_limit(MAX_ENTRY)
    lines = document.lines()
    first = next((line for line in lines if line.strip()), "")
    reader = csv.reader(chain([first], lines), delimiter=_separator(first), skipinitialspace=True)
    try:
        rows: Iterator[list[str]] = (
            [value.strip(" \t") for value in row] for row in reader if any(map(str.strip, row))
        )
        header = next(rows, [])
        if any(map(is_number, header)):
            header, rows = _numbered(len(header)), chain([header], rows)
        names = _names(header)
        for row in rows:
            yield _row(names, row)
    except csv.Error as err:
        raise DataError(f"{document.name}: line {reader.line_num} is no row of a table: {err}") from err


def first_rows(document: Document, count: int = 20) -> list[dict[str, Any]]:
    """Some rows, without those that are broken."""
    return [row for row in islice(text_rows(document), count) if isinstance(row, dict)]


def _row(names: Sequence[str], row: list[str]) -> Row:
    while len(row) > len(names) and not row[-1]:
        row.pop()
    if len(row) != len(names):
        return DataError(f"a row of {len(row)} values in a table of {len(names)} columns: {row!s:.80}")
    return dict(zip(names, map(Untyped, row), strict=True))


def _separator(line: str) -> str:
    """What separates most values of a line."""
    return max("\t;,", key=lambda separator: len(next(csv.reader([line], delimiter=separator), [])))


def _numbered(count: int) -> list[str]:
    return [ID_COLUMN, *([UNNAMED] if count == 2 else [f"{UNNAMED}_{i}" for i in range(1, count)])]


def _names(header: Sequence[str]) -> list[str]:
    """The columns' names, told apart as pandas does it."""
    names: list[str] = []
    for index, name in enumerate(header):
        name = name or f"Unnamed: {index}"
        copies = sum(name == other for other in header[:index])
        names.append(f"{name}.{copies}" if copies else name)
    return names
