"""Folders that are the old one or the new one at any time."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matgl_ssl._files import onto_disk, writing


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a name for a folder beside ``path``, which takes its place when the block ends without an error.

    Raises:
        NotWrittenError: If the disk is full or broken.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(path, partial):
            if not path.exists() and previous_folder(path).exists():  # killed in the middle of replacing it
                previous_folder(path).replace(path)
            yield partial
            replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another, or where there is none, and remove the other.

    Whoever reads meanwhile finds one of them, whole, even if this process is killed: at ``path``, or where the system
    cannot exchange two folders in one move, for a moment at ``previous_folder(path)`` alone.
    """
    old = previous_folder(path)
    for part in (*new.rglob("*"), new):
        onto_disk(part)
    if path.exists() and not _exchange(new, path):
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
    if not path.exists():
        new.replace(path)
    onto_disk(path.parent)
    for folder in (new, old):  # after the exchange the old one is called new
        shutil.rmtree(folder, ignore_errors=True)


def previous_folder(path: Path) -> Path:
    """Where a folder lies while ``replace_folder`` moves another into its place."""
    return path.parent / f".{path.name}.old"


def _exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one move; whether the system can (Linux on most file systems)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2 is not None and renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0
