"""What a command left in its folder: can all of it be read, and is it what it should be?"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from matgl_ssl.hub.files import ModelFiles
from matgl_ssl.hub.stamp import check_digest, stamp_of
from matgl_ssl.training.checkpoint_files import read_checkpoint

_MAY_DIFFER = {"seconds", "structures_per_second", "waiting", "resumed", "log", "digest", "current_score"}
"""Columns and keys that tell the time, a hash of them, and a score of Lightning's that it neither restores nor uses."""
_PLACE_IN_TIME = {"previous.ckpt", ".lock", "lock", "environment.json"}
"""Files that say when a run was stopped, too; that they can be read is enough."""


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file beneath a folder, without what tells the time."""
    return {
        str(path.relative_to(folder)): "" if path.name in _PLACE_IN_TIME else _hash(path)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not _is_theirs(path, folder)
    }


def damaged(folder: Path) -> list[str]:
    """Files that cannot be read, but for work in progress, which is hidden."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and not _is_theirs(path, folder):
            try:
                _read(path)
            except Exception as err:  # of whatever library reads it
                found.append(f"{name}: {type(err).__name__}: {err}")
    return found


def _is_theirs(path: Path, folder: Path) -> bool:
    """Whether it is in the cache of Hugging Face's client, which mends itself: what counts is what we make of it."""
    return path.is_relative_to(folder / "hub")


def _read(path: Path) -> Any:
    match path.suffix:
        case ".ckpt":
            return read_checkpoint(path)
        case ".pt":
            return torch.load(path, weights_only=False)
        case ".parquet":
            return pq.read_table(path)
        case ".arrow":
            with pa.memory_map(str(path)) as file:
                return pa.ipc.open_stream(file).read_all()
        case ".json":
            content = json.loads(path.read_text())
            if path.name == "model.json":
                files = ModelFiles.read(path.parent)
                check_digest(str(path), files, stamp_of(files.description))
            return content
        case ".jsonl":
            return list(map(json.loads, path.read_text().splitlines()))
        case ".csv":
            with path.open(newline="") as file:
                return list(csv.DictReader(file))
        case ".png":
            Image.open(path).load()
    return path.read_bytes()


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    try:
        content = _read(path) if path.suffix in (".ckpt", ".pt", ".json", ".jsonl", ".csv") else path.read_bytes()
    except Exception as err:
        return f"{type(err).__name__}: {err}"
    for part in _parts(content):
        found.update(part)
    return found.hexdigest()


def _parts(content: Any) -> Iterator[bytes]:
    """The bytes of nested values, in order."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in _MAY_DIFFER:
                yield repr(key).encode()
                yield from _parts(value)
    elif isinstance(content, list | tuple):
        yield f"{len(content)}".encode()
        for value in content:
            yield from _parts(value)
    elif isinstance(content, torch.Tensor):
        yield f"{content.dtype}{tuple(content.shape)}".encode()
        yield content.contiguous().numpy().tobytes()
    else:
        yield content if isinstance(content, bytes) else repr(content).encode()
