"""Compute targets once, in workers, into a memory-mapped table that the next run finds again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from datasets.table import InMemoryTable

from matgl_ssl._files import digest
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.arrow import is_list
from matgl_ssl.crystals.storage import STRUCTURE_COLUMNS

from .target import Target

logger = logging.getLogger(__name__)

_BATCH, _ROWS = 64, 4096
_MADE_WITH = ("pymatgen", "spglib", "numpy")


def with_targets(crystals: CrystalDataset, targets: Sequence[Target], *, num_workers: int = 0) -> CrystalDataset:
    """Add a column for each target that the table does not have yet.

    Computed columns are cached under Hugging Face ``datasets``' cache directory (``HF_DATASETS_CACHE``), in
    ``matgl_ssl/``, one file for these crystals, in this order, and one target: 8 bytes a number. Delete it at will.

    Args:
        crystals: The crystals.
        targets: What to compute.
        num_workers: Processes that share the work.

    Returns:
        The same crystals with the new columns.
    """
    missing = [target for target in dict.fromkeys(targets) if target.column not in crystals.label_names]
    if not missing:
        return crystals
    table = crystals.table
    if table._indices is not None:  # a selection's rows must lie in order to be joined with what is computed of them
        table = table.with_format("arrow").flatten_indices().with_format(None)
    structures = table.select_columns(list(STRUCTURE_COLUMNS)).with_format("arrow")
    key = structures_key(crystals, *_versions())
    columns = [_compute(structures, key, target, num_workers if target.parallel else 0) for target in missing]
    joined = datasets.concatenate_datasets([table, *columns], axis=1)
    return CrystalDataset(joined, source=crystals.source, rejected=crystals.rejected)


def cache_directory() -> Path:
    """Where computed targets lie."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "matgl_ssl"


def _compute(structures: datasets.Dataset, key: str, target: Target, num_workers: int) -> datasets.Dataset:
    """The table of one target's column, memory-mapped."""
    name = digest([key, " ", target.column], 24)
    file = cache_directory() / f"targets-{name}.arrow"
    file.parent.mkdir(parents=True, exist_ok=True)
    logger.info("Target %s of %d crystals, kept in %s.", target.name, len(structures), file)
    processes = min(num_workers, len(structures) // _BATCH)
    computed = structures.map(
        _column,
        fn_kwargs={"target": target},
        batched=True,
        batch_size=_BATCH,
        remove_columns=list(STRUCTURE_COLUMNS),
        features=datasets.Features({target.column: datasets.Sequence(datasets.Value("float64"))}),
        num_proc=processes if processes > 1 else None,
        cache_file_name=str(file),
        new_fingerprint=file.stem,
        desc=target.name,
    )
    return computed.with_format(None)


def _column(rows: pa.Table, *, target: Target) -> pa.Table:
    """Compute a batch, Arrow in and Arrow out: nothing becomes a list of Python numbers on the way."""
    crystals = list(CrystalDataset(datasets.Dataset(InMemoryTable(rows)), source="targets"))
    values = [np.asarray(value, dtype=np.float64).ravel() for value in target.of_many(crystals)]
    return pa.table({target.column: pa.array(values, pa.list_(pa.float64()))})


def _versions() -> list[str]:
    """What computes the targets."""
    return [f"{package} {version(package)}" for package in _MADE_WITH]


def structures_key(crystals: CrystalDataset, *facts: str) -> str:
    """Hash of the structures, in order, and of what is done with them: the name of a file in the cache."""
    return digest(chain(["\n".join(facts)], _structure_bytes(crystals)), 24)


def _structure_bytes(crystals: CrystalDataset) -> Iterator[bytes]:
    structures = crystals.table.select_columns(list(STRUCTURE_COLUMNS))
    arrow = structures.with_format("arrow")
    for start in range(0, len(structures), _ROWS):
        batch = arrow[start : start + _ROWS]
        for name in STRUCTURE_COLUMNS:
            lists = batch.column(name).combine_chunks()
            if isinstance(lists, pa.ExtensionArray):  # Array2D of datasets
                lists = lists.storage
            yield lists.value_lengths().to_numpy(zero_copy_only=False).tobytes()
            while is_list(lists.type):  # coordinates may lie flat or in rows
                lists = lists.flatten()
            yield lists.to_numpy(zero_copy_only=False).tobytes()
