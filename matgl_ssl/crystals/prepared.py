"""Prepared corpora: a folder of Arrow shards and the manifest that says what is in them, and from where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.table import MemoryMappedTable, concat_tables

from matgl_ssl._files import digest
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.errors import DataError
from matgl_ssl.formats import upgrade

MANIFEST = "manifest.json"


def is_prepared(folder: Path) -> bool:
    """Whether ``prepare`` wrote a folder. Others may have a manifest of their own."""
    try:
        return "shards" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a prepared folder says of itself.

    Raises:
        DataError: If a later version wrote it.
    """
    return upgrade("manifest", json.loads((folder / MANIFEST).read_text(encoding="utf-8")), folder / MANIFEST)


def read_prepared(folder: Path) -> CrystalDataset:
    """The crystals of a prepared folder, which stay there: shards are mapped into memory as they are.

    Raises:
        DataError: If a shard is missing or of another size, or a later version wrote the folder.
    """
    shards = read_manifest(folder)["shards"]
    for shard in shards:
        file = folder / shard["file"]
        size = file.stat().st_size if file.exists() else None
        if size != shard["bytes"]:
            said = "is missing" if size is None else f"has {size} bytes, not {shard['bytes']}"
            raise DataError(f"{file} {said}. Copy the folder again, or prepare it anew.")
    files = [folder / shard["file"] for shard in shards]
    return CrystalDataset(memory_mapped(files, digest([shard["sha256"] for shard in shards], 16)), source=str(folder))


def memory_mapped(files: Sequence[Path], fingerprint: str) -> datasets.Dataset:
    """Arrow streams of the same columns as one table that stays on disk; ``fingerprint`` says what is in it."""
    return datasets.Dataset(
        concat_tables([MemoryMappedTable.from_file(str(file)) for file in files]), fingerprint=fingerprint
    )
