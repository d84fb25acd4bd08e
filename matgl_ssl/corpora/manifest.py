"""What a prepared folder says of itself: where its crystals are from, and which are not among them and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl._files import digest, file_digest
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.checks import places
from matgl_ssl.crystals.prepared import is_prepared, read_manifest

from .shards import Part, findings_of


def left_out(
    path: Path,
    tables: Sequence[CrystalDataset],
    parts: Sequence[Part],
    work: Path,
    good: CrystalDataset,
    repeated: Sequence[np.ndarray],
) -> list[Counter[str]]:
    """Write a line for each reason to leave a crystal out, and count them by source and code.

    Args:
        path: The file.
        tables: The sources.
        parts: Their parts.
        work: Where the parts' findings are.
        good: The crystals that passed the checks.
        repeated: Of each part, for its good crystals, which of all good ones it repeats, or -1.
    """
    counts: list[Counter[str]] = [Counter() for _ in tables]
    starts, place = np.cumsum([0, *map(len, repeated)]), [places(table) for table in tables]
    with path.open("w", encoding="utf-8") as lines:

        def line(source: int, **finding: Any) -> None:
            counts[source][finding["code"]] += 1
            lines.write(json.dumps({"source": source, **finding}, ensure_ascii=False) + "\n")

        for source, table in enumerate(tables):
            for rejected in table.rejected:
                line(source, **asdict(rejected))
        for part, start, first in zip(parts, starts[:-1], repeated, strict=True):
            for found in findings_of(part, work):
                index = int(place[part.source][part.rows.start + found["index"]])
                line(part.source, **{**found, "index": index})
            rows = np.flatnonzero(first >= 0)
            owners = first[rows]
            sources = [parts[i].source for i in np.searchsorted(starts, owners, side="right") - 1]
            names = zip(good.select(start + rows).ids, good.select(owners).ids, sources, strict=True)
            for id_, of, source in names:
                line(part.source, id=id_, code="duplicate", of={"source": source, "id": of})
    return counts


def contents(
    sources: Sequence[Any],
    licenses: Sequence[str | None],
    tables: Sequence[CrystalDataset],
    parts: Sequence[Part],
    repeated: Sequence[np.ndarray],
    counts: Sequence[Counter[str]],
    files: Sequence[Path],
) -> dict[str, Any]:
    """What is in the folder: how many rows, from which sources, in which shards."""
    kept = [int((each < 0).sum()) for each in repeated]
    return {
        "rows": sum(kept),
        "sources": _described(sources, licenses, tables, parts, kept, counts),
        "shards": _described_shards(files, parts, kept),
    }


def _described(
    sources: Sequence[Any],
    licenses: Sequence[str | None],
    tables: Sequence[CrystalDataset],
    parts: Sequence[Part],
    kept: Sequence[int],
    counts: Sequence[Counter[str]],
) -> list[dict[str, Any]]:
    """The sources; one that was prepared itself brings what its manifest says."""
    return [
        {
            "data": describe(source),
            "license": license,
            "sha256": file_digest(source) if _is_path(source) and Path(source).is_file() else None,
            "fingerprint": digest([part.key for part in parts if part.source == i], 24),
            "rows": len(table) + len(table.rejected),
            "kept": sum(n for part, n in zip(parts, kept, strict=True) if part.source == i),
            "left_out": dict(count.most_common()),
        }
        | (
            {"sources": read_manifest(Path(source))["sources"]}
            if _is_path(source) and is_prepared(Path(source))
            else {}
        )
        for i, (source, license, table, count) in enumerate(zip(sources, licenses, tables, counts, strict=True))
    ]


def _described_shards(files: Sequence[Path], parts: Sequence[Part], kept: Sequence[int]) -> list[dict[str, Any]]:
    """The shards, each from one source."""
    filled = [(part.source, n) for part, n in zip(parts, kept, strict=True) if n]
    return [
        {"file": file.name, "source": source, "rows": rows, "bytes": file.stat().st_size, "sha256": file_digest(file)}
        for file, (source, rows) in zip(files, filled, strict=True)
    ]


def describe(source: Any) -> str:
    """How a source is named."""
    return str(source) if _is_path(source) else f"in memory ({type(source).__name__})"


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, Path))
