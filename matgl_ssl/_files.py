"""Files that several processes share: written in one move, hashed by content, guarded by locks."""

from __future__ import annotations

import hashlib
import os
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
