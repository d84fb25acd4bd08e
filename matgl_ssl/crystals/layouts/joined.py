"""Tables beside structure files: each row names the file that holds its structure (CGCNN, ALIGNN, GNoME, WBM)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from matgl_ssl.crystals.conventions import needed
from matgl_ssl.crystals.kinds import UNNAMED
from matgl_ssl.crystals.layouts import file_kind, stem
from matgl_ssl.crystals.layouts.documents import Document, unpacked_name
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.rows import ID_NAMES, has_structure, id_of, named_columns
from matgl_ssl.crystals.layouts.sources import documents, entries
from matgl_ssl.crystals.layouts.text_tables import Row, first_rows, text_rows
from matgl_ssl.crystals.storage import ID_COLUMN
from matgl_ssl.errors import DataError

logger = logging.getLogger(__name__)

_TABLES = (".csv", ".tsv")
_CGCNN = "id_prop.csv"


def is_label_table(document: Document) -> bool:
    """Whether it is a text table whose rows have no structures themselves."""
    if file_kind(document.name) not in _TABLES:
        return False
    rows = first_rows(document)
    return bool(rows) and not any(map(has_structure, rows))


def joined_folder(files: Sequence[Path], root: Path, columns: Sequence[str] | None) -> Iterator[Entry] | None:
    """The structures of a folder or archive with a table of labels in it, such as CGCNN's ``id_prop.csv``.

    Returns:
        None if no table in it names any of its files.

    Raises:
        DataError: If several do.
    """
    if not any(file_kind(document.name) in _TABLES for document in documents(files, root)):
        return None
    names = _names_in(files, root)
    naming = {
        document.name: column
        for document in documents(files, root)
        if is_label_table(document) and (column := _naming_column(first_rows(document), names)) is not None
    }
    if not naming:
        return None
    own = [name for name in naming if PurePosixPath(name).name == _CGCNN] or list(naming)
    if len(own) > 1:
        raise DataError(f"{root}: several tables name its structure files: {', '.join(own)}. Give one of them as data.")
    rows = next(_rows_by_name(d, naming[d.name], columns) for d in documents(files, root) if d.name == own[0])
    return _joined(own[0], rows, files, root)


def joined_table(table: Document, files: Sequence[Path], root: Path, columns: Sequence[str] | None) -> Iterator[Entry]:
    """The structures that the rows of a table name, with the other values of the row as labels.

    A row names a file by its name with or without folders and suffixes. The column is one that names crystals (see
    ``ID_NAMES``) or else the first whose values are names of files. Files that no row names are not read.

    Args:
        table: A CSV or TSV file.
        files: Where the structures are: files and archives of them.
        root: The folder that names are relative to.
        columns: Labels that are wanted; all by default.

    Raises:
        DataError: If no column names any file.
    """
    names = _names_in(files, root)
    if (column := _naming_column(first_rows(table), names)) is None:
        raise DataError(
            f"{table.name}: no column holds structures (CIF, POSCAR or JSON), and none names a structure file in {root}"
        )
    return _joined(table.name, _rows_by_name(table, column, columns), files, root)


def _joined(table: str, rows: dict[str, Row], files: Sequence[Path], root: Path) -> Iterator[Entry]:
    unread, unnamed = dict(rows), 0
    for document in documents(files, root):
        key = next((name for name in _forms(document.name) if name in rows), None)
        if key is None:
            unnamed += file_kind(document.name) not in (*_TABLES, ".json")  # CGCNN has an atom_init.json
            continue
        row = unread.pop(key, None)
        found = list(entries(document))
        if isinstance(row, dict):
            many = DataError(f"{document.name} holds {len(found)} structures, and a row is one")
            structure, own = (found[0][1], found[0][2]) if len(found) == 1 else (many, {})
            yield "", structure, {**own, **row, ID_COLUMN: id_of(row) or key}
    for key, row in unread.items():
        broken = row if isinstance(row, DataError) else DataError(f"no structure file is called {key!r:.60}")
        yield "", broken, {ID_COLUMN: (id_of(row) if isinstance(row, dict) else None) or key}
    if unnamed:
        logger.warning("%s: %d structure files are named by no row, and not read.", table, unnamed)


def _rows_by_name(table: Document, column: str, columns: Sequence[str] | None) -> dict[str, Row]:
    """The rows by what the column says, with no more values than needed."""
    rows: dict[str, Row] = {}
    for index, row in enumerate(text_rows(table)):
        if isinstance(row, DataError) or not row[column]:
            rows[f"row {index}"] = row
            continue
        kept = row if columns is None else _kept(row, columns)
        rows[str(row[column]).removeprefix("./")] = kept
    return rows


def _kept(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A row without the values that nobody asked for; their names stay, for the message about one that there is not."""
    kept = {*needed(columns, row), *named_columns(tuple(row), ID_NAMES)}
    return {name: value if name in kept or name.startswith(UNNAMED) else None for name, value in row.items()}


def _naming_column(rows: Sequence[Mapping[str, Any]], names: Collection[str]) -> str | None:
    columns = tuple(rows[0]) if rows else ()
    for column in dict.fromkeys((*named_columns(columns, ID_NAMES), *columns)):
        if any(row[column].removeprefix("./") in names for row in rows):
            return column
    return None


def _names_in(files: Sequence[Path], root: Path) -> set[str]:
    return {
        name
        for document in documents(files, root)
        if file_kind(document.name) not in _TABLES
        for name in _forms(document.name)
    }


def _forms(name: str) -> list[str]:
    """What a row may call a file, the fullest name first."""
    return [form(part) for part in (name, PurePosixPath(name).name) for form in (str, unpacked_name, stem)]
