"""Files that several processes share: written in one move, hashed by content, guarded by locks."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from matgl_ssl.disk import not_written

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Tells the processes of machines that share a folder apart."""
_folders = itertools.count()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour of ``path``, which takes its place when the block ends without an error.

    Whoever reads ``path`` meanwhile sees the old file or the new one. So they do after the machine lost its power: the
    file is on the disk before it gets its name. A block that writes nothing changes nothing. What processes that were
    killed left in the folder is removed.

    Raises:
        NotWrittenError: If the disk is full or broken.
    """
    path = Path(path)
    temporary = path.with_name(_own(path.name))
    try:
        with writing(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent)
            yield temporary
            if temporary.exists():
                onto_disk(temporary)
                temporary.replace(path)
                onto_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Name the file or folder that cannot be written, where the disk is full or broken.

    Raises:
        NotWrittenError: If it is; ``partial`` is what was to take the path's place.
    """
    try:
        yield
    except (OSError, RuntimeError) as err:
        known = not_written(err, path, partial)
        if known is None:
            raise
        raise known from err


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder for this process alone, removed after the block, or by the next one if this process is killed."""
    folder = parent / _own(f"{name}-{next(_folders)}")
    try:
        with writing(folder):
            parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(parent)
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own(name: str) -> str:
    return f".{name}.{_HOST}-{os.getpid()}.tmp"


def _remove_leftovers(folder: Path) -> None:
    """What ``atomic_path`` and ``scratch_folder`` made for processes, of this machine, that are no more."""
    if os.name != "posix":  # elsewhere there is no such look at a process
        return
    for left in folder.glob(f".*.{_HOST}-*.tmp"):
        try:
            os.kill(int(left.suffixes[-2].rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        except (ValueError, OSError):  # not ours, or another user's process
            continue


def onto_disk(path: Path) -> None:
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
