"""Files that several processes share: written in one move, hashed by content, guarded by locks."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour of ``path``, which takes its place when the block ends without an error.

    Whoever reads ``path`` meanwhile sees the old file or the new one. A block that writes nothing changes nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file in one move."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another, or where there is none, and remove the other.

    Whoever reads meanwhile finds one of them, whole, even if this process is killed: at ``path``, or where the system
    cannot exchange two folders in one move, for a moment at ``previous_folder(path)`` alone.
    """
    old = previous_folder(path)
    if path.exists() and not _exchange(new, path):
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
    if not path.exists():
        new.replace(path)
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


def digest(parts: Iterable[str | bytes | memoryview], length: int = 64) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of all parts, one after the other; text is UTF-8."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()[:length]


@contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, which the operating system takes back when this process ends, however it ends.

    Args:
        path: The lock file; it stays when the lock is given back.
        wait: Whether to wait while another process holds it.

    Yields:
        Whether this process holds it; always true with ``wait``.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
