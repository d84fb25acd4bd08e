"""Files that several processes share: written in one move, hashed by content, guarded by locks."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from matgl_ssl.errors import ResourceError, is_full_disk

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Tells the processes of machines that share a folder apart."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour of ``path``, which takes its place when the block ends without an error.

    Whoever reads ``path`` meanwhile sees the old file or the new one. So they do after the machine lost its power: the
    file is on the disk before it gets its name. A block that writes nothing changes nothing. What processes that were
    killed left in the folder is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.exists():
            _onto_disk(temporary)
            temporary.replace(path)
            _onto_disk(path.parent)
    except (OSError, RuntimeError) as err:
        if not is_full_disk(err):
            raise
        written, free = (temporary.stat().st_size if temporary.exists() else 0), shutil.disk_usage(path.parent).free
        raise ResourceError(
            f"{path} cannot be written: disk or quota are full after {written / 1e6:.1f} MB of it, and {path.parent} "
            f"has {free / 1e6:.1f} MB free. What was there before is still there. Make room and give the command again "
            "(a run goes on with --resume), or give another place."
        ) from err
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of ``atomic_path`` whose processes, of this machine, are no more."""
    if os.name != "posix":  # elsewhere there is no such look at a process
        return
    for file in folder.glob(f".*.{_HOST}-*.tmp"):
        try:
            os.kill(int(file.suffixes[-2].rpartition("-")[2]), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except (ValueError, OSError):  # not ours, or another user's process
            continue


def _onto_disk(path: Path) -> None:
    """Have the system write what it holds back of a file or, where it can, of a folder."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file in one move."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def second_name(path: Path, other: Path) -> None:
    """Let ``other`` be the file that ``path`` is now, whatever ``path`` will be later."""
    with atomic_path(other) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # a file system without hard links
            shutil.copy2(path, temporary)


def replace_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another, or where there is none, and remove the other.

    Whoever reads meanwhile finds one of them, whole, even if this process is killed: at ``path``, or where the system
    cannot exchange two folders in one move, for a moment at ``previous_folder(path)`` alone.
    """
    old = previous_folder(path)
    for part in (*new.rglob("*"), new):
        _onto_disk(part)
    if path.exists() and not _exchange(new, path):
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
    if not path.exists():
        new.replace(path)
    _onto_disk(path.parent)
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


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
