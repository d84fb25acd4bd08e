"""What happens to the rows of a corpus, a few hundred at a time, in worker processes: Arrow in, Arrow out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.arrow import decode, is_list
from matgl_ssl.crystals.chunks import as_crystals, passing, read, written
from matgl_ssl.crystals.duplicates import N_DISTANCES, invariants
from matgl_ssl.crystals.storage import ID_COLUMN, STRUCTURE_COLUMNS
from matgl_ssl.errors import DataError
from matgl_ssl.targets import Target
from matgl_ssl.targets.compute import target_columns

FORMULA, DISTANCES = "prepare:formula", "prepare:distances"
"""Columns of invariants, while duplicates are looked for."""
_INVARIANTS = (pa.field(FORMULA, pa.int64()), pa.field(DISTANCES, pa.list_(pa.float32(), N_DISTANCES)))


@dataclass(frozen=True)
class Checks:
    """What a crystal must pass: the limits of ``check_dataset``."""

    cutoff: float
    min_distance: float


def common_schema(tables: Sequence[CrystalDataset]) -> pa.Schema:
    """The columns of all tables together: structures as narrow as they can be, labels as each table has them.

    Raises:
        DataError: If two tables have a label of different kinds.
    """
    schemas = []
    for table in tables:
        kept = [name for name in table.table.column_names if name not in (ID_COLUMN, *STRUCTURE_COLUMNS)]
        labels = [
            pa.field(field.name, _flat_type(field.type)) for field in table.table.data.schema if field.name in kept
        ]
        schemas.append(pa.schema([*_STRUCTURE, *labels]))
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as err:
        raise DataError(
            f"The sources have a column of different kinds: {err}. Name the labels to keep with --columns."
        ) from err


def examined(stream: bytes, *, schema: pa.Schema, checks: Checks) -> tuple[bytes, list[dict[str, Any]]]:
    """The rows that pass the checks, with their invariants, and what is wrong with each of the others."""
    rows = read(stream)
    good, report = passing(as_crystals(rows), **asdict(checks))
    rows = rows.take(good)
    keys, distances = invariants(list(as_crystals(rows)))
    columns = [_column(rows, field) for field in schema]
    columns += [pa.array(keys), pa.FixedSizeListArray.from_arrays(distances.ravel(), N_DISTANCES)]
    return written(pa.table(columns, schema=with_invariants(schema))), [asdict(f) for f in report.findings]


def with_invariants(schema: pa.Schema) -> pa.Schema:
    """A schema with the columns of invariants."""
    return pa.schema([*schema, *_INVARIANTS])


def with_computed(stream: bytes, *, targets: Sequence[Target]) -> bytes:
    """The rows with a column for each target."""
    rows = read(stream)
    if targets:
        for field, values in target_columns(list(as_crystals(rows)), targets):
            rows = rows.append_column(field, values)
    return written(rows)


_STRUCTURE = (
    pa.field(ID_COLUMN, pa.string()),
    pa.field("numbers", pa.list_(pa.uint8())),
    pa.field("frac_coords", pa.list_(pa.float64())),
    pa.field("lattice", pa.list_(pa.float64())),
)


def _column(rows: pa.Table, field: pa.Field) -> Any:
    if field.name not in rows.column_names:
        return pa.nulls(len(rows), field.type)
    column = rows.column(field.name)
    if column.type == field.type:
        return column
    return pa.array(decode(column), field.type) if is_list(field.type) else column.cast(field.type)


def _flat_type(kind: pa.DataType) -> pa.DataType:
    """Lists within lists, such as forces, are one list."""
    kind = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind
    if not is_list(kind):
        return kind
    while is_list(kind):
        kind = kind.value_type
    return pa.list_(kind)
