"""Checks before training, shared by processes and kept: a million crystals take minutes, and each rank wants them."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from matgl_ssl._files import digest
from matgl_ssl._seals import read_sealed, write_sealed
from matgl_ssl._version import __version__
from matgl_ssl.crystals import CheckReport, CrystalDataset, Finding, check_dataset
from matgl_ssl.crystals.checks import places
from matgl_ssl.crystals.chunks import as_crystals, n_chunks, passing, read, streams
from matgl_ssl.crystals.storage import ID_COLUMN, STRUCTURE_COLUMNS
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.targets.compute import structures_key
from matgl_ssl.work import parallel

FEW = 10_000
"""Crystals that are checked as they come."""
_CHUNK = 512


def checked(
    crystals: CrystalDataset, *, num_workers: int = 0, cluster: str | None = None, **limits: Any
) -> tuple[CrystalDataset, CheckReport]:
    """``check_dataset``; of many crystals what was found lies in the cache, named by all that it depends on.

    Args:
        crystals: The crystals.
        num_workers: Processes that share the work.
        cluster: Address of a Dask scheduler whose workers share it instead.
        **limits: As for ``check_dataset``.

    Raises:
        NothingLeftError: If nothing is left.
    """
    if len(crystals) <= FEW:
        return check_dataset(crystals, **limits)
    names = digest(f"{id_}\n" for id_ in crystals.each(ID_COLUMN))
    file = cache_directory() / f"checks-{structures_key(crystals, names, repr(limits), __version__)}.json"
    text = read_sealed(file)
    if text is None:
        table = crystals.table.select_columns([ID_COLUMN, *STRUCTURE_COLUMNS])
        found = parallel(
            partial(_found, limits=limits), streams(table, _CHUNK),
            n_jobs=num_workers, cluster=cluster, what="checking crystals", total=n_chunks(len(table), _CHUNK),
        )  # fmt: skip
        bad: list[int] = []
        findings: list[dict[str, Any]] = []
        for i, (rows, those) in enumerate(found):
            bad += [i * _CHUNK + row for row in rows]
            findings += [{**finding, "index": i * _CHUNK + finding["index"]} for finding in those]
        write_sealed(file, text := json.dumps({"rows": bad, "findings": findings}))
    kept = json.loads(text)
    good = np.delete(np.arange(len(crystals)), kept["rows"])
    if not len(good):
        return check_dataset(crystals, **limits)  # raises, with examples
    place = places(crystals)
    found_now = (Finding(**{**finding, "index": int(place[finding["index"]])}) for finding in kept["findings"])
    all_findings = (*crystals.rejected, *found_now)
    report = CheckReport(len(crystals) + len(crystals.rejected), len(good), all_findings)
    if len(good) == len(crystals):
        return CrystalDataset(crystals.table, source=crystals.source), report
    return crystals.select(good), report


def _found(stream: bytes, *, limits: dict[str, Any]) -> tuple[list[int], list[dict[str, Any]]]:
    """Of one piece the rows with findings, and these."""
    crystals = as_crystals(read(stream))
    good, report = passing(crystals, **limits)
    return np.delete(np.arange(len(crystals)), good).tolist(), [asdict(finding) for finding in report.findings]
