"""Prepared corpora: a folder of Arrow shards and the manifest that says what is in them, and from where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.table import MemoryMappedTable, concat_tables

from matgl_ssl._files import digest, file_digest
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.crystals.tables import check_arrow, refuse_elsewhere
from matgl_ssl.errors import DataError
from matgl_ssl.formats import verified

MANIFEST, LEFT_OUT = "manifest.json", "left_out.jsonl"


def is_prepared(folder: Path) -> bool:
    """Whether ``prepare`` wrote a folder. Others may have a manifest of their own."""
    if (folder / MANIFEST).is_file() and (folder / LEFT_OUT).is_file():
        return True  # whatever became of them
    try:
        return "shards" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a prepared folder says of itself.

    Raises:
        DataError: If a later version wrote it, it is not what was written, or its shards do not lie in the folder.
    """
    file = folder / MANIFEST
    try:
        manifest = verified("manifest", json.loads(file.read_text(encoding="utf-8")), file)
        names = [str(shard["file"]) for shard in manifest["shards"] if shard["sha256"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        if isinstance(err, DataError):
            raise
        said = f"{type(err).__name__}: {err}"
        raise DataError(f"{file} is damaged: {said}. Copy the folder again, or prepare it again.") from err
    refuse_elsewhere(file, names)
    return manifest


def read_prepared(folder: Path) -> CrystalDataset:
    """The crystals of a prepared folder, which stay there: shards are mapped into memory as they are.

    Raises:
        DataError: If a shard is missing or is not what was prepared, or a later version wrote the folder.
    """
    shards = read_manifest(folder)["shards"]
    for shard in shards:
        file = folder / shard["file"]
        if not file.exists() or file_digest(file) != shard["sha256"]:
            said = "is damaged (its SHA-256 is not the manifest's)" if file.exists() else "is missing"
            raise DataError(f"{file} {said}. Copy the folder again, or prepare it again.")
        check_arrow(file)
    files = [folder / shard["file"] for shard in shards]
    return CrystalDataset(memory_mapped(files, digest([shard["sha256"] for shard in shards], 16)), source=str(folder))


def memory_mapped(files: Sequence[Path], fingerprint: str) -> datasets.Dataset:
    """Arrow streams of the same columns as one table that stays on disk; ``fingerprint`` says what is in it."""
    return datasets.Dataset(
        concat_tables([MemoryMappedTable.from_file(str(file)) for file in files]), fingerprint=fingerprint
    )
