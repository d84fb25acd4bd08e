"""Readers: whatever holds crystals, as a ``CrystalDataset``."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import datasets
from pymatgen.core import Structure

from matgl_ssl._files import digest
from matgl_ssl.boundary import typed
from matgl_ssl.crystals import hub
from matgl_ssl.crystals.checks import Policy, as_crystal
from matgl_ssl.crystals.conventions import needed, standard
from matgl_ssl.crystals.conversion import CONVERTED, converted, wanted_columns
from matgl_ssl.crystals.ids import warn_of_copies
from matgl_ssl.crystals.kinds import UNNAMED, known_columns
from matgl_ssl.crystals.layouts import PARSERS, file_kind, stem
from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.layouts.joined import is_label_table, joined_folder, joined_table
from matgl_ssl.crystals.layouts.sources import BUILDERS, documents, entries, files_in, is_readable
from matgl_ssl.crystals.notes import Notes
from matgl_ssl.crystals.objects import object_entries
from matgl_ssl.crystals.prepared import is_prepared, read_prepared
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.report import CheckReport, Finding
from matgl_ssl.crystals.spool import spooled
from matgl_ssl.crystals.storage import ID_COLUMN, STRUCTURE_COLUMNS, CrystalDataset
from matgl_ssl.crystals.tables import file_batches, files_key, load_saved, read_tables, table_columns
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
    Source: TypeAlias = One | Iterable[Any] | CrystalDataset | datasets.Dataset | str | Path

_READABLE = (
    f"Readable are {', '.join((*PARSERS, *BUILDERS))}, POSCAR and CONTCAR, all but tables also .gz, .bz2, .xz and in "
    ".zip and .tar archives"
)
_PICKLES = (".pkl", ".pickle")
_NO_PICKLE = (
    "{0}: a pickle executes whatever it holds when it is read, so it is not. If you trust it, convert it once: "
    "python -c \"import pandas; pandas.read_pickle('{0}').to_json('{0}.json', orient='split', "
    'default_handler=lambda structure: structure.as_dict())"'
)


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
        source: A path, a name on the Hugging Face hub, or an object. Paths: a file, folder or archive in one of the
            layouts of ``docs/data.md``, or a glob of them. Names: ``owner/name``, with ``:configuration`` or ``:split``
            or both; a local path wins. Objects: a crystal, pymatgen structure or ASE atoms; pairs of one and its label
            or mapping of labels; rows as mappings; any iterable of these; a pandas or polars data frame; a mapping of
            columns; an open ASE database; a ``datasets.Dataset``.
        columns: Labels to read; all by default.
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
        dataset = _from_table(source, "datasets.Dataset", columns)
    elif isinstance(source, datasets.DatasetDict):
        raise DataError(f"a DatasetDict: choose one of its splits {list(source)}, for example source[{min(source)!r}]")
    elif isinstance(source, (str, Path)):
        dataset = _from_path(str(source), columns, policy)
    else:
        dataset = _from_objects(source, columns, policy)
    if policy == "raise" and dataset.rejected:
        raise BadStructureError(f"{dataset.source}: {dataset.rejected[0].message}", dataset.rejected[0].code)
    if dataset is not source:
        warn_of_copies(dataset.table, ID_COLUMN, dataset.source)
    dataset = standard(dataset, columns, units or {})
    return dataset if columns is None else dataset.select_labels(columns)


def _from_objects(source: Any, columns: Sequence[str] | None, policy: Policy) -> CrystalDataset:
    found = object_entries(source, columns)
    return _collect(((key, ("", structure, labels)) for key, structure, labels in found), "memory", columns, policy)


def _from_path(source: str, columns: Sequence[str] | None, policy: Policy) -> CrystalDataset:
    if not source.strip():  # an unset variable of the shell; as a path it would be the working directory
        raise DataError("No data: give --data (data=) a file, a folder, a table or structures.")
    path = Path(source)
    if path.is_dir():
        if is_prepared(path):
            return read_prepared(path)
        if (path / "dataset_dict.json").exists():
            splits = load_saved(path)
            if "train" not in splits:
                raise DataError(f"{source}: no split 'train' among {list(splits)}; name the folder of one of them.")
            return _from_table(splits["train"], source, columns)
        if (path / "state.json").exists():
            return _from_table(load_saved(path), source, columns)
        files, closed = files_in(path)
        if not files:
            raise DataError(f"{source}: no crystals in this folder{'; '.join(['', *map(str, closed)])}. {_READABLE}.")
        return _from_files(files, path, source, columns, policy, closed)
    if path.is_file():
        if file_kind(path.name) in _PICKLES:
            raise DataError(_NO_PICKLE.format(path))
        if not is_readable(path.name):
            raise DataError(f"{source}: cannot read files called *{file_kind(path.name) or path.name}. {_READABLE}.")
        return _from_files([path], path.parent, source, columns, policy)
    if glob.has_magic(source) and (found := sorted(glob.glob(source, recursive=True))):  # noqa: PTH207 - may be absolute
        files = [Path(name) for name in found if Path(name).is_file() and is_readable(Path(name).name)]
        if not files:
            raise DataError(f"{source}: none of the {len(found)} files can be read. {_READABLE}.")
        root = Path(*Path(source).parts[: _first_magic(source)])
        return _from_files(files, root, source, columns, policy)
    if hub.NAME.fullmatch(source) and not is_readable(path.name) and not path.parent.is_dir():
        return hub.read_hub(source, columns)
    if path.exists():  # a pipe, a device
        raise DataError(f"{source} is neither a file nor a folder. Write what comes out of it to a file first.")
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
        return _from_tables(files, builders.pop(), source, columns)
    if (found := _joined(files, root, columns)) is None:
        counts = Counter(stem(document.name) for document in documents(files, root))  # Si.cif and Si.vasp keep suffixes
        if not counts:
            raise DataError(f"{source}: no crystals in this archive. {_READABLE}.")
        found = (
            (stem(document.name) if counts[stem(document.name)] == 1 else document.name, entry)
            for document in documents(files, root)
            for entry in entries(document)
        )
    unseen: list[tuple[str, Entry]] = [(Path(str(err.filename)).name, ("", err, {})) for err in closed]
    return _collect(chain(found, unseen), source, columns, policy)


def _joined(files: list[Path], root: Path, columns: Sequence[str] | None) -> Iterator[tuple[str, Entry]] | None:
    """What a table says of structure files, beside it or with it in a folder or archive; None if there is none."""
    if len(files) == 1 and is_label_table(table := Document(files[0])):
        beside, _ = files_in(root)
        found: Iterator[Entry] | None = joined_table(table, beside, root, columns)
    else:
        found = joined_folder(files, root, columns)
    return None if found is None else (("", entry) for entry in found)


def _from_tables(files: list[Path], builder: str, source: str, columns: Sequence[str] | None) -> CrystalDataset:
    try:
        available = table_columns(files[0])
        wanted = wanted_columns(available, columns, source)
        if set(STRUCTURE_COLUMNS) <= {*available}:
            return _from_table(read_tables(files, wanted), source, columns)
        key = files_key(files, columns, CONVERTED)
        return converted(key, lambda: file_batches(files, wanted), source)
    except DataError:
        raise
    except Exception as err:  # pyarrow raises errors of several kinds
        if isinstance(known := typed(err), ResourceError):  # a cache that cannot be written, a full disk
            raise known from err
        raise DataError(f"{source}: cannot be read as {builder}: {err}") from err


def _from_table(table: datasets.Dataset, source: str, columns: Sequence[str] | None) -> CrystalDataset:
    if not len(table):
        raise DataError(f"{source}: the table has no rows")
    if set(STRUCTURE_COLUMNS) <= {*table.column_names}:
        return CrystalDataset(table, source=source)
    wanted = wanted_columns(table.column_names, columns, source)
    plain = (table if wanted is None else table.select_columns(wanted)).with_format("arrow")
    key = digest([table._fingerprint, repr(columns), CONVERTED], 24)
    return converted(key, lambda: plain.iter(4096), source)


def _wanted(
    entries: Iterable[tuple[str, Entry]], columns: Sequence[str] | None, source: str
) -> Iterator[tuple[str, Entry]]:
    """Entries with no more labels than needed.

    Raises:
        DataError: At the end, if no entry had one of the labels that are asked for.
    """
    seen: dict[str, None] = {}
    kept: dict[frozenset[str], set[str]] = {}
    for name, (key, structure, labels) in entries:
        if columns is not None:
            own = {**(structure.labels if isinstance(structure, Crystal) else {}), **labels}
            seen.update(dict.fromkeys(own))
            given = frozenset(own)
            if given not in kept:
                kept[given] = {ID_COLUMN, UNNAMED, *needed(columns, given)}
            labels = {label: value for label, value in labels.items() if label in kept[given]}
        yield name, (key, structure, labels)
    if columns and seen:
        known_columns(needed(columns, seen), [name for name in seen if name != ID_COLUMN], source)


def _collect(
    entries: Iterable[tuple[str, Entry]], source: str, columns: Sequence[str] | None, policy: Policy
) -> CrystalDataset:
    rejected: list[Finding] = []
    notes = Notes()
    with notes.listening():
        wanted = _wanted(entries, columns, source)
        dataset = spooled(_crystals(wanted, source, policy, rejected, notes), source, columns or ())
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
