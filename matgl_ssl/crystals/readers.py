"""Readers: whatever holds crystals, as a ``CrystalDataset``."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import datasets
from pymatgen.core import Structure

from matgl_ssl.boundary import typed
from matgl_ssl.crystals.checks import Policy, as_crystal
from matgl_ssl.crystals.conventions import needed, standard
from matgl_ssl.crystals.ids import warn_of_copies
from matgl_ssl.crystals.layouts import PARSERS, file_kind, stem
from matgl_ssl.crystals.layouts.atoms import atoms_labels
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.rows import row_entry
from matgl_ssl.crystals.layouts.sources import BUILDERS, documents, entries, files_in, is_readable
from matgl_ssl.crystals.notes import Notes
from matgl_ssl.crystals.prepared import is_prepared, read_prepared
from matgl_ssl.crystals.records import DOUBT, Crystal
from matgl_ssl.crystals.report import CheckReport, Finding
from matgl_ssl.crystals.spool import spooled
from matgl_ssl.crystals.storage import ID_COLUMN, STRUCTURE_COLUMNS, CrystalDataset, check_layout, known_columns
from matgl_ssl.crystals.tables import read_tables, table_columns
from matgl_ssl.errors import (
    BadStructureError,
    DataError,
    MatGLSSLError,
    NothingLeftError,
    ResourceError,
    did_you_mean,
)

if TYPE_CHECKING:
    from ase import Atoms

    One: TypeAlias = Crystal | Structure | Atoms
    Source: TypeAlias = One | Iterable[One] | CrystalDataset | datasets.Dataset | str | Path

_READABLE = (
    f"Readable are {', '.join((*PARSERS, *BUILDERS))}, POSCAR and CONTCAR, all but tables also .gz, .bz2, .xz and in "
    ".zip and .tar archives"
)
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<split>\w[\w.\[\]:%+-]*))?")


def read_crystals(
    source: Source,
    *,
    columns: Sequence[str] | None = None,
    policy: Policy = "skip",
    units: Mapping[str, str] | None = None,
) -> CrystalDataset:
    """Read crystals.

    Tables (Parquet, Arrow, ``save_to_disk`` folders, the hub) stay on disk, memory-mapped; everything else is read into
    memory. Coordinates are in fractions of the cell, lattices in Å. Energies, forces and stresses, also under other
    well-known names (see ``conventions``), come in eV, eV/Å and eV/Å³ (positive: under tension); other labels keep the
    units of the source.

    Args:
        source: Crystals, pymatgen structures or ASE atoms (one, or an iterable); a table; the path of a CIF, POSCAR,
            (ext)XYZ, JSON, JSONL, Parquet or Arrow file, of a ``save_to_disk`` folder or of a folder of such files; a
            glob; or the name of a Hugging Face dataset, ``owner/name`` or ``owner/name:split``. A local path wins.
        columns: Labels to keep; all by default.
        policy: Under ``"skip"`` entries that are disordered, not periodic or unreadable go to ``rejected``; under
            ``"raise"`` the first one stops the reading. Rows of tables are looked at by ``check_dataset`` only.
        units: Units of the source's ``energy``, ``force`` and ``stress``, as in ``{"stress": "kbar-compression"}`` (see
            ``crystals.units``); by default those of its layout (MatPES, MPtrj), or else the ones above.

    Raises:
        DataError: If there is nothing to read, or a column is missing.
        BadStructureError: Under ``"raise"``.
        ConfigError: If a unit is unknown.
    """
    if isinstance(source, CrystalDataset):
        dataset = source
    elif isinstance(source, datasets.Dataset):
        dataset = _from_table(source, "datasets.Dataset", policy)
    elif isinstance(source, datasets.DatasetDict):
        raise DataError(f"a DatasetDict: choose one of its splits {list(source)}, for example source[{min(source)!r}]")
    elif isinstance(source, (str, Path)):
        dataset = _from_path(str(source), columns, policy)
    else:
        dataset = _from_objects(source, policy)
    if dataset is not source:
        warn_of_copies(dataset.table, ID_COLUMN, dataset.source)
    dataset = standard(dataset, columns, units or {})
    return dataset if columns is None else dataset.select_labels(columns)


def _from_objects(source: One | Iterable[One], policy: Policy) -> CrystalDataset:
    from ase import Atoms

    kinds = (Crystal, Structure, Atoms)
    if not isinstance(source, (*kinds, Iterable)):
        raise DataError(f"cannot read crystals from a {type(source).__name__}")
    items = [source] if isinstance(source, kinds) else list(source)
    entries: list[tuple[str, Entry]] = []
    for index, item in enumerate(items):
        if not isinstance(item, kinds):
            raise DataError(f"entry {index} is a {type(item).__name__}; expected a Crystal, Structure or Atoms")
        labels = atoms_labels(item) if isinstance(item, Atoms) else {}
        entries.append((getattr(item, "id", "") or str(index), ("", item, labels)))
    return _collect(entries, "memory", policy)


def _from_path(source: str, columns: Sequence[str] | None, policy: Policy) -> CrystalDataset:
    if not source.strip():  # an unset variable of the shell; as a path it would be the working directory
        raise DataError("No data: give --data (data=) a file, a folder, a table or structures.")
    path = Path(source)
    if path.is_dir():
        if is_prepared(path):
            return read_prepared(path)
        if (path / "dataset_dict.json").exists():
            splits = datasets.load_from_disk(path)
            if "train" not in splits:
                raise DataError(f"{source}: no split 'train' among {list(splits)}; name the folder of one of them.")
            return _from_table(splits["train"], source, policy)
        if (path / "state.json").exists():
            return _from_table(datasets.load_from_disk(path), source, policy)
        files, closed = files_in(path)
        if not files:
            raise DataError(f"{source}: no crystals in this folder{'; '.join(['', *map(str, closed)])}. {_READABLE}.")
        return _from_files(files, path, source, columns, policy, closed)
    if path.is_file():
        if not is_readable(path.name):
            raise DataError(f"{source}: cannot read files called *{file_kind(path.name) or path.name}. {_READABLE}.")
        return _from_files([path], path.parent, source, columns, policy)
    if glob.has_magic(source) and (found := sorted(glob.glob(source, recursive=True))):  # noqa: PTH207 - may be absolute
        files = [Path(name) for name in found if Path(name).is_file() and is_readable(Path(name).name)]
        if not files:
            raise DataError(f"{source}: none of the {len(found)} files can be read. {_READABLE}.")
        root = Path(*Path(source).parts[: _first_magic(source)])
        return _from_files(files, root, source, columns, policy)
    hub = _HUB_NAME.fullmatch(source)
    if hub and not is_readable(path.name) and not path.parent.is_dir():
        return _from_hub(hub["name"], hub["split"] or "train", policy)
    raise DataError(f"{source}: no such file or folder{_nearest(path)}")


def _from_files(
    files: list[Path],
    root: Path,
    source: str,
    columns: Sequence[str] | None,
    policy: Policy,
    closed: Sequence[OSError] = (),
) -> CrystalDataset:
    builders = {BUILDERS.get(file_kind(file.name), "") for file in files}
    if len(builders) > 1:
        raise DataError(
            f"{source}: holds tables and structure files together; choose some, e.g. with a glob {root}/*.cif"
        )
    if builders != {""} and closed:
        raise closed[0]
    if builders != {""}:
        return _from_tables(files, builders.pop(), source, columns, policy)
    counts = Counter(stem(document.name) for document in documents(files, root))  # Si.cif and Si.vasp keep suffixes
    if not counts:
        raise DataError(f"{source}: no crystals in this archive. {_READABLE}.")
    found = (
        (stem(document.name) if counts[stem(document.name)] == 1 else document.name, entry)
        for document in documents(files, root)
        for entry in entries(document)
    )
    unseen: list[tuple[str, Entry]] = [(Path(str(err.filename)).name, ("", err, {})) for err in closed]
    return _collect(chain(found, unseen), source, policy)


def _from_tables(
    files: list[Path], builder: str, source: str, columns: Sequence[str] | None, policy: Policy
) -> CrystalDataset:
    try:
        available = table_columns(files[0])
        structure = [name for name in (ID_COLUMN, *STRUCTURE_COLUMNS, DOUBT, "structure") if name in available]
        if "structure" not in structure:
            check_layout(available, source)
        labels = [name for name in available if name not in structure]
        wanted = None if columns is None else [*structure, *known_columns(needed(columns, labels), labels, source)]
        table = read_tables(files, wanted)
    except DataError:
        raise
    except Exception as err:  # pyarrow raises errors of several kinds
        if isinstance(known := typed(err), ResourceError):  # a cache that cannot be written, a full disk
            raise known from err
        raise DataError(f"{source}: cannot be read as {builder}: {err}") from err
    return _from_table(table, source, policy)


def _from_table(table: datasets.Dataset, source: str, policy: Policy) -> CrystalDataset:
    if not len(table):
        raise DataError(f"{source}: the table has no rows")
    if "structure" in table.column_names and "numbers" not in table.column_names:
        return _collect(((str(i), row_entry(row, "")) for i, row in enumerate(table)), source, policy)
    return CrystalDataset(table, source=source)


def _from_hub(name: str, split: str, policy: Policy) -> CrystalDataset:
    try:
        table = datasets.load_dataset(name, split=split)
    except Exception as err:  # offline, absent, gated, without this split: each has its own class
        raise DataError(
            f"{name}: no such path here, and no Hugging Face dataset of this name with a split {split!r} "
            f"can be reached: {err}"
        ) from err
    return _from_table(table, f"{name}:{split}", policy)


def _collect(entries: Iterable[tuple[str, Entry]], source: str, policy: Policy) -> CrystalDataset:
    rejected: list[Finding] = []
    notes = Notes()
    with notes.listening():
        dataset = spooled(_crystals(entries, source, policy, rejected, notes), source)
    if not len(dataset):
        report = CheckReport(len(rejected), 0, tuple(rejected))
        raise NothingLeftError(f"{source}: no crystal could be read: {report.reasons() or 'nothing was given'}", report)
    notes.tell(source)
    return CrystalDataset(dataset.table, source=source, rejected=rejected)


def _crystals(
    entries: Iterable[tuple[str, Entry]], source: str, policy: Policy, rejected: list[Finding], notes: Notes
) -> Iterator[Crystal]:
    """What can be read; the others are written down in ``rejected``, and what is to be said of them in ``notes``."""
    for index, (name, (key, structure, labels)) in enumerate(entries):
        own = labels.pop(ID_COLUMN, None)
        id_ = (f"{name}-{key}" if key else name) if own is None else str(own)
        try:
            if isinstance(structure, Exception):
                raise structure
            crystal = _named(structure, id_, labels)
        except Exception as err:
            reason = str(err) if isinstance(err, MatGLSSLError) else f"{type(err).__name__}: {err}"
            message = reason if reason.startswith(f"{id_}: ") else f"{id_}: {reason}"
            code = err.code if isinstance(err, BadStructureError) else "unreadable"
            if policy == "raise":
                raise BadStructureError(f"{source}: {message}", code) from err
            rejected.append(Finding(id_, code, message, index))
        else:
            notes.about(crystal, structure)
            yield crystal


def _named(structure: One, id_: str, labels: dict[str, Any]) -> Crystal:
    if isinstance(structure, Crystal):
        merged = {**structure.labels, **labels}
        return Crystal(structure.numbers, structure.frac_coords, structure.lattice, id=id_, labels=merged)
    return as_crystal(structure, id=id_, labels=labels)


def _first_magic(pattern: str) -> int:
    return next(i for i, part in enumerate(Path(pattern).parts) if glob.has_magic(part))


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; the folder {path.parent} does not exist either"
    names = [other.name for other in path.parent.iterdir()]
    return f" in {path.parent}.{did_you_mean(path.name, names, lambda name: path.parent / name)}"
