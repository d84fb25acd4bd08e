"""A row of a table: where its structure is, what names it, and what is left as labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from matgl_ssl.crystals.kinds import UNNAMED
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.plain import LAYOUTS, fields_of, from_mapping
from matgl_ssl.crystals.layouts.values import holds_structure, structure_of
from matgl_ssl.crystals.storage import ID_COLUMN
from matgl_ssl.errors import DataError

if TYPE_CHECKING:
    from matgl_ssl.crystals.layouts.plain import One

STRUCTURE_NAMES = (
    "structure", "final_structure", "relaxed_structure", "initial_structure", "computed_structure_entry", "entry",
    "atoms", "ase_atoms", "crystal", "cif", "cif_string", "cif_text", "poscar", "poscar_string",
)  # fmt: skip
"""Columns that may hold a structure as an object, plain data or text; capitals and spaces do not matter."""
ID_NAMES = (
    "material_id", "id", "mat_id", "matid", "jid", "mp_id", "mpid", "immutable_id", "identifier", "materialid",
    "matpes_id", "entry_id", "name", "index",
)  # fmt: skip
"""Columns that name a crystal, the first that there is; capitals and spaces do not matter."""
_EXTRA = ("cartesian", "pbc", "species", "dimension_types")


def row_entry(row: Any, key: str, name: str | None = None) -> Entry:
    """What a row says: its structure, and all other values as they are; ``name`` is its id unless it says another.

    The structure is the row itself, if it has the fields of one (see ``plain``); or the value of a column of
    ``STRUCTURE_NAMES``; or else the first that looks like a structure.
    """
    try:
        if not isinstance(row, Mapping):
            return key, structure_of(row), {ID_COLUMN: name}
        used = structure_columns(row)
        labels = {} if "sites" in used else {label: value for label, value in row.items() if label not in used}
        return key, _structure(row, used), {**labels, ID_COLUMN: id_of(labels) or name}
    except Exception as err:  # whatever a stranger's values make pymatgen raise
        return key, err, {ID_COLUMN: (id_of(row) if isinstance(row, Mapping) else None) or name}


def structure_columns(row: Mapping[str, Any], *, guess: bool = True) -> tuple[str, ...]:
    """The names of what describes a row's structure; those of any name only with ``guess``.

    Raises:
        DataError: If nothing does.
    """
    named = named_columns(tuple(row), STRUCTURE_NAMES)
    for name in named:
        if holds_structure(row[name]):
            return (name,)
    if fields := fields_of(row):
        return (*fields, *(name for name in _EXTRA if name in row))
    for name in (name for name, value in row.items() if guess and holds_structure(value)):
        return (name,)
    for name in named:
        try:
            structure_of(row[name])
        except DataError as err:
            raise DataError(f"column {name!r}: {err}") from err
    known = "; ".join(", ".join(fields) for fields in LAYOUTS)
    raise DataError(
        f"no structure among the columns {', '.join(map(str, row)):.200}. It may be one column, called "
        f"{', '.join(STRUCTURE_NAMES[:2])}, cif or poscar for example, or several: {known}"
    )


def has_structure(row: Mapping[str, Any], *, guess: bool = True) -> bool:
    """Whether some of a row's columns are meant as a structure."""
    try:
        return bool(structure_columns(row, guess=guess))
    except DataError:
        return False


def is_row(value: Any) -> bool:
    """Whether JSON is a row, and not a mapping that has structures under their ids."""
    if not isinstance(value, Mapping):
        return False
    return has_structure(value, guess=False) or isinstance(value.get("attributes"), Mapping)  # the latter: OPTIMADE


def needed_columns(columns: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Those of a table's columns to read for these labels: them, ids, and what may describe structures."""
    whole = [each for each in LAYOUTS if set(each) <= {*columns}]
    structures = {
        *named_columns(tuple(columns), STRUCTURE_NAMES),
        *(name for each in whole for name in (*each, *_EXTRA)),
    }
    if wanted is None or not structures:
        return list(columns)
    kept = {*structures, *wanted, UNNAMED, *named_columns(tuple(columns), ID_NAMES)}
    return [name for name in columns if name in kept]


@lru_cache(maxsize=256)
def named_columns(columns: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    """Those of ``columns`` that go by one of ``names``, in the order of ``names``."""
    plain = {str(column).strip().lower().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)}
    return [plain[name] for name in names if name in plain]


def id_of(labels: Mapping[str, Any]) -> str | None:
    """What names a row: the first value of a column of ``ID_NAMES``."""
    values: Iterable[Any] = (labels[name] for name in named_columns(tuple(labels), ID_NAMES))
    return next((str(value) for value in values if value not in (None, "") and value == value), None)


def _structure(row: Mapping[str, Any], used: tuple[str, ...]) -> One:
    return structure_of(row[used[0]]) if len(used) == 1 else from_mapping({name: row[name] for name in used})
