"""Storage: a table of crystals in Arrow, memory-mapped through Hugging Face ``datasets``.

A table has the columns ``numbers`` (N integers), ``frac_coords`` (3N, row-major), ``lattice`` (9, rows in Å), usually
``material_id``, and any number of label columns. Rows are decoded in batches straight from the Arrow buffers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.table import InMemoryTable
from pymatgen.core import Composition, Element

from matgl_ssl._files import atomic_path, digest
from matgl_ssl.crystals.arrow import decode, is_list
from matgl_ssl.crystals.ids import with_ids
from matgl_ssl.crystals.kinds import UNNAMED, known_columns, named_column
from matgl_ssl.crystals.records import DOUBT, Crystal
from matgl_ssl.crystals.report import Finding, placed
from matgl_ssl.errors import DataError

ID_COLUMN = "material_id"
STRUCTURE_COLUMNS = ("numbers", "frac_coords", "lattice")
LAYOUT = (
    "numbers: list of N atomic numbers; frac_coords: list of 3N fractional coordinates, row-major; "
    "lattice: list of 9 values, rows in Å; optionally material_id and label columns"
)
_BATCH = 4096
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Places of a stress's components among the six numbers that ASE gives: xx, yy, zz, yz, xz, xy."""


class CrystalDataset:
    """A table of crystals whose rows stay on disk until they are read.

    Attributes:
        table: The underlying ``datasets.Dataset``; it always has a ``material_id`` column.
        rejected: What the reader had to leave out, and why.
        source: Where the crystals came from, for messages and reports.
    """

    def __init__(self, table: datasets.Dataset, *, source: str, rejected: Sequence[Finding] = ()) -> None:
        """Wrap a table.

        Raises:
            DataError: If a structure column is missing.
        """
        check_layout(table.column_names, source)
        self.table = table = with_ids(table, ID_COLUMN)
        self.rejected = placed(rejected, len(table))
        self.source = source
        self._arrow = table.with_format("arrow")

    @classmethod
    def from_crystals(
        cls,
        crystals: Iterable[Crystal],
        *,
        source: str = "memory",
        rejected: Sequence[Finding] = (),
        asked: Collection[str] | None = None,
    ) -> CrystalDataset:
        """Make an in-memory table; labels missing from some crystals become nulls, arrays are stored flat.

        Args:
            crystals: The crystals with their labels.
            source: Where they came from.
            rejected: What was left out.
            asked: Labels whose values must be of one kind (see ``label_column``); all by default. Others that are not
                are left out with a warning.

        Raises:
            DataError: If the values of such a label are of different kinds.
        """
        crystals = list(crystals)
        columns: dict[str, pa.Array] = {
            ID_COLUMN: pa.array([c.id or str(i) for i, c in enumerate(crystals)], pa.string()),
            "numbers": pa.array([c.numbers for c in crystals], pa.list_(pa.int64())),
            "frac_coords": pa.array([c.frac_coords.ravel() for c in crystals], pa.list_(pa.float64())),
            "lattice": pa.array([c.lattice.ravel() for c in crystals], pa.list_(pa.float64())),
        }
        for name in dict.fromkeys(name for c in crystals for name in c.labels):
            if name in columns:
                raise DataError(f"{source}: a label cannot be called {name!r}, which is a structure column")
            ids, values = columns[ID_COLUMN], [c.labels.get(name) for c in crystals]
            if (column := named_column(name, values, ids, source, asked)) is not None:
                columns[name] = column
        return cls(datasets.Dataset(InMemoryTable(pa.table(columns))), source=source, rejected=rejected)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Crystal:
        if not -len(self) <= index < len(self):
            raise IndexError(f"crystal {index} of {len(self)}")
        return self.rows([index % len(self)])[0]

    def __iter__(self) -> Iterator[Crystal]:
        for start in range(0, len(self), _BATCH):
            yield from self.rows(range(start, min(start + _BATCH, len(self))))

    def __repr__(self) -> str:
        return f"CrystalDataset({len(self)} crystals from {self.source}; labels {self.label_names})"

    def rows(self, indices: Sequence[int] | np.ndarray) -> list[Crystal]:
        """Read several crystals at once, in the order of ``indices``.

        Null labels are ``None``; ``forces`` come back as ``(N, 3)``, what begins with ``atom:`` as ``(N, k)``, and
        ``stress`` as ``(3, 3)``, where it has nine values or the six that ASE gives.

        Raises:
            DataError: If a row's lists do not fit each other.
        """
        if not len(indices):
            return []
        batch = self._arrow[indices if isinstance(indices, range) else [int(i) for i in indices]]
        columns = {name: decode(batch.column(name)) for name in batch.column_names}
        ids = columns.pop(ID_COLUMN)
        numbers, frac_coords, lattice = (columns.pop(name) for name in STRUCTURE_COLUMNS)
        return [
            _crystal(str(id_), z, x, cell, {k: v[i] for k, v in columns.items() if k != DOUBT or v[i]})
            for i, (id_, z, x, cell) in enumerate(zip(ids, numbers, frac_coords, lattice, strict=True))
        ]

    @property
    def ids(self) -> list[str]:
        """The id of each crystal."""
        return list(map(str, self.each(ID_COLUMN)))

    def each(self, name: str) -> Iterator[Any]:
        """A column's values one at a time, Python scalars or flat arrays: a million ids as a list take 100 MB."""
        for piece in self._pieces(*self._known([name])):
            yield from decode(piece)

    @property
    def label_names(self) -> list[str]:
        """The columns beside the id and the structure."""
        return [name for name in self.table.column_names if name not in (ID_COLUMN, *STRUCTURE_COLUMNS, DOUBT)]

    def column(self, name: str) -> np.ndarray:
        """One column, shape ``(len(self),)``: numbers with NaN for null, or objects (text, one array per row).

        Raises:
            DataError: If there is no such column.
        """
        chunks = self._chunks(self._known([name])[0])
        if pa.types.is_boolean(chunks.type) and chunks.null_count:
            chunks = chunks.cast(pa.uint8())
        if not is_list(chunks.type):
            return chunks.to_numpy()
        values = np.empty(len(self), dtype=object)
        values[:] = decode(chunks)
        return values

    def select(self, indices: Sequence[int] | np.ndarray) -> CrystalDataset:
        """The crystals at ``indices``, in that order; ``rejected`` stays behind with the whole."""
        rows = np.ascontiguousarray(indices, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} crystals")
        if self.table._indices is not None:
            rows = self.table._indices.column(0).to_numpy()[rows]
        # The same as datasets' ``select``, which makes a list of the rows on the way: 50 MB for a million.
        mapping = InMemoryTable(pa.table({"indices": pa.array(rows, pa.uint64())}))
        name = digest([self.table._fingerprint, rows.data], 16)
        table = datasets.Dataset(self.table.data, info=self.table.info.copy(), indices_table=mapping, fingerprint=name)
        return CrystalDataset(table, source=self.source)

    def select_labels(self, names: Sequence[str]) -> CrystalDataset:
        """The same crystals with only these labels.

        Raises:
            DataError: If there is no such column, or it says which crystal it is or where its atoms are.
        """
        known = known_columns(names, self.label_names, self.source)
        doubt = [name for name in self.table.column_names if name == DOUBT]
        kept = dict.fromkeys((ID_COLUMN, *STRUCTURE_COLUMNS, *known, *doubt))
        table = self.table.select_columns(list(kept))
        if UNNAMED in known and UNNAMED not in names:
            table = table.rename_column(UNNAMED, names[known.index(UNNAMED)])
        return CrystalDataset(table, source=self.source, rejected=self.rejected)

    def sizes(self) -> np.ndarray:
        """Number of atoms of each crystal, shape ``(len(self),)``."""
        parts = [pc.list_value_length(rows).to_numpy() for rows in self._pieces("numbers")]
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts])

    def volumes(self) -> np.ndarray:
        """Cell volume of each crystal in Å³, shape ``(len(self),)``."""
        parts = [
            np.abs(np.linalg.det(np.reshape(decode(rows), (-1, 3, 3)).astype(float)))
            for rows in self._pieces("lattice")
        ]
        return np.concatenate([np.zeros(0), *parts])

    def formulas(self) -> list[str]:
        """Reduced formulas, always from ``numbers``: a ``formula`` column may follow another convention.

        Empty for what has no atoms, or atoms of no element: ``check_dataset`` leaves it out.
        """
        return [
            "" if z is None else _reduced_formula(np.sort(z).astype(np.int64).tobytes())
            for rows in self._pieces("numbers")
            for z in decode(rows)
        ]

    def exclude_formulas(self, formulas: Iterable[str]) -> CrystalDataset:
        """Leave out every crystal with one of these formulas, for example those of a test set."""
        unwanted = {Composition(formula).reduced_formula for formula in set(formulas)}
        keep = [i for i, formula in enumerate(self.formulas()) if formula not in unwanted]
        return CrystalDataset(self.table.select(keep), source=self.source, rejected=self.rejected)

    def write_parquet(self, path: str | Path) -> Path:
        """Write the table to one Parquet file, atomically."""
        with atomic_path(path) as temporary, _no_bars():
            self.table.to_parquet(str(temporary), write_page_checksum=True)
        return Path(path)

    def pieces(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Columns, a few thousand rows at a time: as a whole, those of a selection would be copied into memory."""
        for start in range(0, len(self), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(self)))
            if self.table._indices is not None:
                rows = self.table._indices.column(0).slice(start, _BATCH).to_numpy()
            first, n = int(rows.min()), int(rows.max() - rows.min()) + 1
            if n > 8 * len(rows):
                yield self._arrow.select_columns(list(names))[start : start + _BATCH]
                continue
            near = self.table.data.fast_slice(first, n).select(list(names))  # datasets would fetch rows one by one
            yield near if n == len(rows) and (np.diff(rows) == 1).all() else near.take(rows - first)

    def _pieces(self, name: str) -> Iterator[pa.ChunkedArray]:
        return (piece.column(name) for piece in self.pieces([name]))

    def _chunks(self, name: str) -> pa.ChunkedArray:
        return self._arrow.select_columns([name])[:].column(name)

    def _known(self, names: Sequence[str]) -> list[str]:
        return known_columns(names, self.table.column_names, self.source)


def check_layout(available: Sequence[str], source: str) -> None:
    """Refuse a table without structures.

    Raises:
        DataError: If it lacks one of their columns.
    """
    missing = [name for name in STRUCTURE_COLUMNS if name not in available]
    if missing:
        raise DataError(f"{source}: no column {', '.join(missing)} among {list(available)}. Expected layout: {LAYOUT}.")


@contextmanager
def _no_bars() -> Iterator[None]:
    """A table is written in a moment: no bar of datasets in between, and afterwards as it was."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _crystal(id_: str, numbers: Any, frac_coords: Any, lattice: Any, labels: Mapping[str, Any]) -> Crystal:
    sizes = [-1 if values is None else len(values) for values in (numbers, frac_coords, lattice)]
    if sizes[1] != 3 * sizes[0] or sizes[2] != 9:
        raise DataError(
            f"{id_}: {sizes[0]} numbers, {sizes[1]} frac_coords and {sizes[2]} lattice values (-1: null) "
            f"do not make a crystal. Expected layout: {LAYOUT}."
        )
    # astype copies: Arrow's buffers are read-only, and a view of one row would keep the whole batch alive.
    return Crystal(
        numbers.astype(np.int64),
        frac_coords.astype(np.float64).reshape(-1, 3),
        lattice.astype(np.float64).reshape(3, 3),
        id=id_,
        labels={name: _shaped(name, value, sizes[0]) for name, value in labels.items()},
    ).wrapped()


def _shaped(name: str, value: Any, n_atoms: int) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if (name, value.size) in (("forces", 3 * n_atoms), ("stress", 9)):
        return value.reshape(-1, 3).copy()
    if (name, value.size) == ("stress", 6):
        return value[_VOIGT]
    if name.startswith("atom:") and n_atoms and value.size % n_atoms == 0:
        return value.reshape(n_atoms, -1).copy()
    return value.copy()


@lru_cache(maxsize=65536)
def _reduced_formula(sorted_numbers: bytes) -> str:
    numbers, counts = np.unique(np.frombuffer(sorted_numbers, dtype=np.int64), return_counts=True)
    try:
        amounts = {Element.from_Z(int(z)).symbol: int(n) for z, n in zip(numbers, counts, strict=True)}
    except ValueError:
        return ""
    return Composition(amounts).reduced_formula
