"""Tables whose structures are laid out in another way, batch by batch to ours: LeMat-Bulk, OPTIMADE, text, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from matgl_ssl._seals import is_whole, read_sealed, write_sealed
from matgl_ssl.crystals.checks import as_crystal
from matgl_ssl.crystals.conventions import needed
from matgl_ssl.crystals.kinds import known_columns
from matgl_ssl.crystals.layouts.rows import ID_NAMES, named_columns, needed_columns, row_entry, structure_columns
from matgl_ssl.crystals.notes import Notes
from matgl_ssl.crystals.records import DOUBT, Crystal
from matgl_ssl.crystals.report import Finding
from matgl_ssl.crystals.storage import ID_COLUMN, STRUCTURE_COLUMNS, CrystalDataset
from matgl_ssl.crystals.tables import cached_file, cached_table
from matgl_ssl.errors import BadStructureError, DataError
from matgl_ssl.progress import track

CONVERTED = "converted 1"
"""Part of what names a converted table in the cache: another number, and all are converted anew."""
_ROW = "row of the batch"
_KIND = pa.schema(
    [
        (ID_COLUMN, pa.string()), ("numbers", pa.list_(pa.int64())), ("frac_coords", pa.list_(pa.float64())),
        ("lattice", pa.list_(pa.float64())), (DOUBT, pa.string()), (_ROW, pa.int64()),
    ]
)  # fmt: skip


def wanted_columns(available: Sequence[str], columns: Sequence[str] | None, source: str) -> list[str] | None:
    """The columns of a table to read for these labels; None for all.

    Raises:
        DataError: If there is no such label.
    """
    if columns is None:
        return None
    ours = (ID_COLUMN, *STRUCTURE_COLUMNS, DOUBT)
    labels = [name for name in available if name not in ours]
    known = known_columns(needed(columns, labels), labels, source)
    if not set(STRUCTURE_COLUMNS) <= {*available}:
        return needed_columns(available, known)
    return [name for name in available if name in (*ours, *known)]


def rejected_file(key: str) -> Path:
    """Where the findings of a converted table lie, or would."""
    return cached_file(key).with_suffix(".rejected.json")


def converted(key: str, batches: Callable[[], Iterator[pa.Table]], source: str) -> CrystalDataset:
    """Our table of another one's rows, which stays on disk, in the cache.

    Rows that cannot be read are left out; what was wrong with them is kept beside the table.

    Args:
        key: What names it in the cache.
        batches: Gives the rows of the other table, with the labels to keep.
        source: Where they come from.

    Raises:
        DataError: If no row can be read.
    """
    side = rejected_file(key)

    def ours() -> Iterator[pa.Table]:
        rejected: list[Finding] = []
        notes = Notes()
        used: list[str] = []
        start = kept = 0
        for batch in track(batches(), f"reading {source}", size=len):
            used = used or _structure_columns(batch)
            with notes.listening():
                rows = _converted(batch, used, start, rejected, notes)
            for name in batch.column_names:
                if name not in (*used, *_KIND.names):
                    rows = rows.append_column(name, batch.column(name).take(rows.column(_ROW)))
            yield rows.drop_columns(_ROW)
            start, kept = start + len(batch), kept + len(rows)
        if not kept:
            first = f"; for example {rejected[0].message}" if rejected else ""
            raise DataError(
                f"{source}: {f'none of {start} rows is a crystal' if start else 'the table has no rows'}{first}"
            )
        notes.tell(source)
        write_sealed(side, json.dumps([asdict(finding) for finding in rejected]))

    if not is_whole(side):
        cached_file(key).unlink(missing_ok=True)  # they are made together
    table = cached_table(key, ours)
    rejected = [Finding(**finding) for finding in json.loads(read_sealed(side) or "[]")]
    return CrystalDataset(table, source=source, rejected=rejected)


def _structure_columns(batch: pa.Table) -> list[str]:
    """The columns that describe structures, as the first row that has one says.

    Raises:
        DataError: If none does.
    """
    rows = batch.select(needed_columns(batch.column_names, [])).to_pylist()
    for row in rows:
        with suppress(DataError):
            return list(structure_columns(row))
    return list(structure_columns(rows[0] if rows else dict.fromkeys(batch.column_names)))


def _converted(batch: pa.Table, used: Sequence[str], start: int, rejected: list[Finding], notes: Notes) -> pa.Table:
    """Ids, structures, and which row of the batch each is from."""
    names = named_columns(tuple(batch.column_names), ID_NAMES)
    given = batch.column(names[0]).to_pylist() if names else [None] * len(batch)
    ids = [str(start + i) if id_ is None else str(id_) for i, id_ in enumerate(given)]
    crystals: dict[int, Crystal] = {}
    for i, row in enumerate(batch.select(list(used)).to_pylist()):
        _, structure, _ = row_entry(row, "")
        try:
            if isinstance(structure, Exception):
                raise structure
            crystals[i] = as_crystal(structure, id=ids[i])
        except Exception as err:  # whatever a stranger's values make pymatgen raise
            code = err.code if isinstance(err, BadStructureError) else "unreadable"
            reason = str(err).removeprefix(f"{ids[i]}: ")
            rejected.append(Finding(ids[i], code, f"{ids[i]}: {reason}", start + i))
        else:
            notes.about(crystals[i], structure)
    found = crystals.values()
    columns = [
        [ids[i] for i in crystals], [c.numbers for c in found], [c.frac_coords.ravel() for c in found],
        [c.lattice.ravel() for c in found], [c.labels.get(DOUBT) for c in found], [*crystals],
    ]  # fmt: skip
    return pa.table(columns, schema=_KIND)
