"""The stages of ``prepare``: each writes files that are named by what is in them, so that a killed one can continue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from matgl_ssl._files import digest
from matgl_ssl._seals import is_whole, sealed_path
from matgl_ssl._version import __version__
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.chunks import n_chunks, read, streams
from matgl_ssl.crystals.duplicates import N_DISTANCES, match
from matgl_ssl.crystals.prepared import memory_mapped
from matgl_ssl.targets import Target
from matgl_ssl.work import parallel

from .rows import DISTANCES, FORMULA, Checks, examined, with_computed, with_invariants

_EXAMINED, _COMPUTED = 256, 64
"""Rows that a worker process gets at a time."""
_FINDINGS = b"findings"


class Part(NamedTuple):
    """Consecutive rows of a source, which become one shard."""

    source: int
    rows: range
    key: str


def parts_of(tables: Sequence[CrystalDataset], schema: pa.Schema, checks: Checks, shard_rows: int) -> list[Part]:
    """Cut sources into parts; the key of one is a hash of its rows and of what is done with them."""
    facts = f"{__version__} {checks} {schema.to_string()}"
    return [
        Part(source, rows, digest([facts, *streams(table.table, _EXAMINED, rows)], 24))
        for source, table in enumerate(tables)
        for rows in _cut(range(len(table)), shard_rows)
    ]


def examine(
    tables: Sequence[CrystalDataset],
    parts: Sequence[Part],
    folder: Path,
    schema: pa.Schema,
    checks: Checks,
    **shared: Any,
) -> None:
    """Check every crystal; a file of each part keeps the good ones, with their invariants, and the findings."""
    todo = [part for part in parts if not is_whole(folder / part.key)]
    chunks = (stream for part in todo for stream in streams(tables[part.source].table, _EXAMINED, part.rows))
    total = sum(n_chunks(len(part.rows), _EXAMINED) for part in todo)
    function = partial(examined, schema=schema, checks=checks)
    with closing(parallel(function, chunks, what="checking crystals", total=total, **shared)) as results:  # type: ignore[type-var]
        for part in todo:
            found = list(islice(results, n_chunks(len(part.rows), _EXAMINED)))
            findings = [
                {**finding, "index": i * _EXAMINED + finding["index"]}
                for i, (_, each) in enumerate(found)
                for finding in each
            ]
            kind = with_invariants(schema).with_metadata({_FINDINGS: json.dumps(findings)})
            _write(folder / part.key, kind, (read(stream) for stream, _ in found))


def good_crystals(parts: Sequence[Part], folder: Path) -> tuple[CrystalDataset, np.ndarray]:
    """The crystals that passed the checks, of all parts, and where each part begins among them (and where they end)."""
    files = [folder / part.key for part in parts]
    lengths = [len(memory_mapped([file], "part")) for file in files]
    return CrystalDataset(memory_mapped(files, "parts"), source="sources"), np.cumsum([0, *lengths])


def find_repeated(
    good: CrystalDataset, parts: Sequence[Part], folder: Path, tolerance: float, **shared: Any
) -> np.ndarray:
    """For each crystal that passed the checks the first that it repeats, or -1."""
    file = folder / f"duplicates-{digest([repr(tolerance), *(part.key for part in parts)], 24)}.npy"
    if not is_whole(file):
        distances = np.empty((len(good), N_DISTANCES), dtype=np.float32)
        for row, vector in zip(distances, good.each(DISTANCES), strict=True):
            row[:] = vector
        first = match([good], good.column(FORMULA), distances, tolerance=tolerance, **shared)
        with sealed_path(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, first)
    return np.asarray(np.load(file))


def finish(
    good: CrystalDataset,
    parts: Sequence[Part],
    repeated: Sequence[np.ndarray],
    final: Path,
    targets: Sequence[Target],
    **shared: Any,
) -> list[Path]:
    """Write the shards: of each part the good crystals that repeat none, with what is computed of them."""
    names = ", ".join(target.column for target in targets)
    kept = [np.flatnonzero(first < 0) for first in repeated]
    starts = np.cumsum([0, *map(len, repeated)])
    files = [
        final / f"{i:05d}-{digest([part.key, names, rows.tobytes()], 12)}.arrow"
        for i, (part, rows) in enumerate(zip(parts, kept, strict=True))
    ]
    todo = [i for i, file in enumerate(files) if len(kept[i]) and not is_whole(file)]
    bare = good.select_labels([name for name in good.label_names if name not in (FORMULA, DISTANCES)])
    tables = (bare.select(starts[i] + kept[i]) for i in todo)
    chunks = (stream for table in tables for stream in streams(table.table, _COMPUTED))
    total = sum(n_chunks(len(kept[i]), _COMPUTED) for i in todo)
    together, alone = ([t for t in targets if t.parallel is may_share] for may_share in (True, False))
    computed = parallel(partial(with_computed, targets=together), chunks, what="writing shards", total=total, **shared)
    with closing(computed) as results:  # type: ignore[type-var]
        for i in todo:
            streams_of_it = islice(results, n_chunks(len(kept[i]), _COMPUTED))
            tables_of_it = (read(with_computed(stream, targets=alone) if alone else stream) for stream in streams_of_it)
            first = next(tables_of_it)
            _write(files[i], first.schema, [first, *tables_of_it])
    for stale in set(final.iterdir()) - set(files):  # of another attempt, with other options
        stale.unlink()
    return [file for file in files if file.exists()]


def findings_of(part: Part, folder: Path) -> list[dict[str, Any]]:
    """What was wrong with the others; ``index`` counts the part's rows."""
    with pa.memory_map(str(folder / part.key)) as file:
        return list(json.loads(pa.ipc.open_stream(file).schema.metadata[_FINDINGS]))


def _cut(rows: range, size: int) -> Iterator[range]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """A file of one record batch: each costs kilobytes wherever the table is open, and selections come in many."""
    rows = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
    with sealed_path(path) as temporary, pa.ipc.new_stream(str(temporary), schema) as stream:
        stream.write_table(rows)
