"""Compute targets once, in workers, into a memory-mapped table that the next run finds again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from matgl_ssl._files import digest
from matgl_ssl._seals import is_whole, sealed_path
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.arrow import is_list
from matgl_ssl.crystals.chunks import as_crystals, n_chunks, read
from matgl_ssl.crystals.chunks import streams as streams_of
from matgl_ssl.crystals.storage import STRUCTURE_COLUMNS
from matgl_ssl.crystals.tables import cache_directory, in_order
from matgl_ssl.work import parallel

from .target import Target

logger = logging.getLogger(__name__)

_BATCH = 64
_NUMBERS = pa.list_(pa.float64())
_MADE_WITH = ("pymatgen", "spglib", "numpy")


def with_targets(
    crystals: CrystalDataset, targets: Sequence[Target], *, num_workers: int = 0, cluster: str | None = None
) -> CrystalDataset:
    """Add a column for each target that the table does not have yet.

    Computed columns are cached under Hugging Face ``datasets``' cache directory (``HF_DATASETS_CACHE``), in
    ``matgl_ssl/``, one file for these crystals, in this order, and one target: 8 bytes a number. Delete it at will.

    Args:
        crystals: The crystals.
        targets: What to compute.
        num_workers: Processes that share the work.
        cluster: Address of a Dask scheduler whose workers share it instead.

    Returns:
        The same crystals with the new columns.
    """
    missing = [target for target in dict.fromkeys(targets) if target.column not in crystals.label_names]
    if not missing:
        return crystals
    table = in_order(crystals.table)  # as rows must lie to be joined with what is computed of them
    key = structures_key(crystals, *_versions())
    files = {target: cache_directory() / f"targets-{digest([key, ' ', target.column], 24)}.arrow" for target in missing}
    absent = [target for target in missing if not is_whole(files[target])]
    structures = table.select_columns(list(STRUCTURE_COLUMNS)).with_format("arrow")
    shared = {"n_jobs": min(num_workers, len(table) // _BATCH), "cluster": cluster}
    for may_share in (True, False):
        if of_kind := {target: files[target] for target in absent if target.parallel is may_share}:
            _compute(structures, of_kind, **(shared if may_share else {}))
    columns = [datasets.Dataset.from_file(str(files[target])) for target in missing]
    joined = datasets.concatenate_datasets([table, *columns], axis=1)
    return CrystalDataset(joined, source=crystals.source, rejected=crystals.rejected)


def _compute(structures: datasets.Dataset, files: dict[Target, Path], **shared: Any) -> None:
    """Compute targets of a table, each into its file."""
    names = ", ".join(target.name for target in files)
    logger.info("Computing %s for %d crystals. The cache %s keeps them.", names, len(structures), cache_directory())
    with ExitStack() as stack:
        streams, schemas = [], []
        for target, path in files.items():
            schemas.append(pa.schema([_field(target)]))
            file = stack.enter_context(sealed_path(path))
            streams.append(stack.enter_context(pa.ipc.new_stream(file, schemas[-1])))
        chunks, n = streams_of(structures, _BATCH), n_chunks(len(structures), _BATCH)
        for arrays in parallel(
            partial(_values, targets=tuple(files)), chunks, total=n, what="computing targets", **shared
        ):
            for stream, schema, values in zip(streams, schemas, arrays, strict=True):
                stream.write_batch(pa.record_batch([values], schema=schema))


def _values(chunk: bytes, *, targets: Sequence[Target]) -> list[pa.Array]:
    """Targets of one chunk; from and to Arrow, so that nothing becomes a list of Python numbers on the way."""
    return [values for _, values in target_columns(list(as_crystals(read(chunk))), targets)]


def target_columns(crystals: Sequence[Crystal], targets: Sequence[Target]) -> list[tuple[pa.Field, pa.Array]]:
    """A column of each target, which may either all be shared by processes or not."""
    # A model takes all crystals at once; other targets take a crystal in turns and share what they find out about it.
    groups = [[crystal] for crystal in crystals] if targets[0].parallel else [crystals]
    with threadpool_limits(1, user_api="blas"):  # on matrices as small as these, threads wait for each other
        values = zip(*([target.of_many(group) for target in targets] for group in groups), strict=True)
    return [
        (
            _field(target),
            pa.array([np.asarray(value, dtype=np.float64).ravel() for value in chain(*of_groups)], _NUMBERS),
        )
        for target, of_groups in zip(targets, values, strict=True)
    ]


def _field(target: Target) -> pa.Field:
    return pa.field(target.column, _NUMBERS, metadata={"target": repr(target)})


def _versions() -> list[str]:
    """What computes the targets."""
    return [f"{package} {version(package)}" for package in _MADE_WITH]


def structures_key(crystals: CrystalDataset, *facts: str) -> str:
    """Hash of the structures, in order, and of what is done with them: the name of a file in the cache."""
    return digest(chain(["\n".join(facts)], _structure_bytes(crystals)), 24)


def _structure_bytes(crystals: CrystalDataset) -> Iterator[bytes]:
    for batch in crystals.pieces(STRUCTURE_COLUMNS):
        for name in STRUCTURE_COLUMNS:
            lists = batch.column(name).combine_chunks()
            if isinstance(lists, pa.ExtensionArray):  # Array2D of datasets
                lists = lists.storage
            yield lists.value_lengths().to_numpy(zero_copy_only=False).tobytes()
            while is_list(lists.type):  # coordinates may lie flat or in rows
                lists = lists.flatten()
            yield lists.to_numpy(zero_copy_only=False).tobytes()
