"""Files of the cache end with a digest of what is before it: a damaged one is noticed and computed again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from matgl_ssl._files import atomic_path, digest

logger = logging.getLogger(__name__)

_MARK = b"\nmatgl_ssl sha256 "
_LENGTH = len(_MARK) + 64
_BLOCK = 2**20


@contextmanager
def sealed_path(path: Path) -> Iterator[Path]:
    """``atomic_path`` for a file that a seal is put behind. Arrow's and numpy's readers stop before it."""
    with atomic_path(path) as temporary:
        yield temporary
        seal = _seal(temporary, path.name, temporary.stat().st_size)
        with temporary.open("ab") as stream:
            stream.write(seal)


def is_whole(path: Path) -> bool:
    """Whether a sealed file is there, bit for bit as it was written, and under its own name.

    A damaged file is logged, and the caller computes it again.
    """
    if not path.is_file():
        return False
    length = max(path.stat().st_size - _LENGTH, 0)
    with path.open("rb") as stream:
        stream.seek(length)
        found = stream.read()
    if found == _seal(path, path.name, length):
        return True
    logger.warning("%s is damaged, or an earlier version wrote it: it is computed again.", path)
    return False


def write_sealed(path: Path, text: str) -> None:
    """Write a sealed text in one move."""
    with sealed_path(path) as temporary:
        temporary.write_bytes(text.encode())


def read_sealed(path: Path) -> str | None:
    """The text of a sealed file; None if it is not there, or not whole."""
    return path.read_bytes()[:-_LENGTH].decode() if is_whole(path) else None


def _seal(file: Path, name: str, length: int) -> bytes:
    """The seal of a file's first bytes under a name: one that took another's place has the other's seal."""
    with file.open("rb") as stream:
        blocks = (stream.read(min(_BLOCK, length - start)) for start in range(0, length, _BLOCK))
        return _MARK + digest(chain([name, "\n"], blocks)).encode()
