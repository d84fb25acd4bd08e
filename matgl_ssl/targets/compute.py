"""Compute targets once, in workers, into a memory-mapped table that the next run finds again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.storage import STRUCTURE_COLUMNS

from .target import Target

logger = logging.getLogger(__name__)

_BATCH, _ROWS = 64, 4096
_MADE_WITH = ("pymatgen", "spglib", "numpy")


def with_targets(crystals: CrystalDataset, targets: Sequence[Target], *, num_workers: int = 0) -> CrystalDataset:
    """Add a column for each target that the table does not have yet.

    Computed columns are cached under Hugging Face ``datasets``' cache directory (``HF_DATASETS_CACHE``), in
    ``matgl_ssl/``, one file for these crystals and these targets: 8 bytes a number. Delete it at will.

    Args:
        crystals: The crystals.
        targets: What to compute.
        num_workers: Processes that share the work.

    Returns:
        The same crystals with the new columns.
    """
    for parallel in (True, False):
        missing = [t for t in dict.fromkeys(targets) if t.parallel is parallel and t.column not in crystals.label_names]
        if missing:
            crystals = _add(crystals, missing, num_workers if parallel else 0)
    return crystals


def cache_directory() -> Path:
    """Where computed targets lie."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "matgl_ssl"


def _add(crystals: CrystalDataset, targets: Sequence[Target], num_workers: int) -> CrystalDataset:
    structures = crystals.table.select_columns(list(STRUCTURE_COLUMNS))
    file = cache_directory() / f"targets-{_key(structures, targets)}.arrow"
    file.parent.mkdir(parents=True, exist_ok=True)
    logger.info("Targets: %s of %d crystals.", ", ".join(t.name for t in targets), len(crystals))
    processes = min(num_workers, len(crystals) // _BATCH)
    computed = structures.map(
        _columns,
        fn_kwargs={"targets": list(targets)},
        batched=True,
        batch_size=_BATCH,
        remove_columns=list(STRUCTURE_COLUMNS),
        features=datasets.Features({t.column: datasets.Sequence(datasets.Value("float64")) for t in targets}),
        num_proc=processes if processes > 1 else None,
        cache_file_name=str(file),
        new_fingerprint=file.stem,
    )
    table = datasets.concatenate_datasets([crystals.table, computed], axis=1)
    return CrystalDataset(table, source=crystals.source, rejected=crystals.rejected)


def _columns(rows: dict[str, Any], *, targets: Sequence[Target]) -> dict[str, list[np.ndarray]]:
    crystals = list(CrystalDataset(datasets.Dataset.from_dict(dict(rows)), source="targets"))
    return {t.column: [np.asarray(v, dtype=np.float64).ravel() for v in t.of_many(crystals)] for t in targets}


def _key(structures: datasets.Dataset, targets: Sequence[Target]) -> str:
    """Hash of the structures, the targets, and what computes them."""
    digest = hashlib.sha256("\n".join(f"{p} {version(p)}" for p in _MADE_WITH).encode())
    digest.update("\n".join(target.column for target in targets).encode())
    arrow = structures.with_format("arrow")
    for start in range(0, len(structures), _ROWS):
        batch = arrow[start : start + _ROWS]
        for name in STRUCTURE_COLUMNS:
            lists = batch.column(name).combine_chunks()
            digest.update(lists.value_lengths().to_numpy(zero_copy_only=False).tobytes())
            digest.update(lists.flatten().to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()[:24]
