"""Archives: the files in a zip or tar file, read one after the other, never unpacked to disk."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from matgl_ssl.crystals.layouts.documents import COMPRESSED, Budget, Document, bounded, unpacked_name
from matgl_ssl.errors import DataError

_TAR = {".tar", ".tgz", ".tbz2", ".txz"}
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
_MOST_NAMES = 64 << 20
"""Bytes of a zip file's list of its members, which is read at once: a million names."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""How members may be packed; LZMA takes as much memory as the file says."""
_SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}


class Broken(Document):
    """What cannot be looked into."""

    def __init__(self, path: Path, name: str, error: DataError) -> None:
        super().__init__(path, name)
        self._error = error

    @property
    def size(self) -> int:
        """Raises what is wrong with it."""
        raise self._error


class _Member(Document):
    """A file in an archive, which stays open as long as the archive is walked through."""

    def __init__(self, path: Path, name: str, size: int, stored: Callable[[], Any], budget: Budget) -> None:
        super().__init__(path, name, budget)
        self._size, self._stored, self._budget = size, stored, budget

    @property
    def size(self) -> int:
        """Bytes once it is out of the archive."""
        return self._size

    def stored(self) -> BinaryIO:
        """The bytes, counted."""
        stream = self._stored()
        return bounded(stream, self._budget, stream)


def archive_name(name: str) -> str | None:
    """What an archive is called without its suffixes; None if a name is not that of an archive."""
    inner = PurePosixPath(unpacked_name(name))
    is_archive = inner.suffix.lower() in _TAR or PurePosixPath(name).suffix.lower() == ".zip"
    return str(inner.with_suffix("")) if is_archive else None


def members(path: Path) -> Iterator[Document]:
    """The files in an archive; each can be read until the next one is asked for.

    What is no plain file, or whose name leads out of the archive, is ``Broken``. All that is unpacked counts against
    one limit (see ``documents``).

    Raises:
        DataError: If it is no such archive, or damaged.
    """
    try:
        yield from (_zipped if path.suffix.lower() == ".zip" else _taped)(path)
    except _DAMAGED as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise  # of the system; bz2 and gzip have none
        raise DataError(f"{path.name}: a damaged archive: {err}") from err


def _zipped(path: Path) -> Iterator[Document]:
    with _ReadInPieces(path) as file, zipfile.ZipFile(file) as archive:
        budget = Budget(path.stat().st_size, path.name)
        for info in archive.infolist():
            if not info.is_dir():
                plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                member = _Member(path, info.filename, info.file_size, partial(archive.open, info), budget)
                yield _refused(member, plain, info.compress_type in _METHODS) or member


class _ReadInPieces(io.FileIO):
    """A file of which nobody reads more at once than a list of members may be long."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_NAMES:
            raise DataError(f"{self.name}: a list of members of {size:,} bytes; {_MOST_NAMES:,} are read. Unpack it.")
        return super().read(size)


def _taped(path: Path) -> Iterator[Document]:
    outer = Budget(path.stat().st_size, path.name)
    inner = Budget(path.stat().st_size, path.name)  # a sparse member has more bytes than the tape
    suffix = _SHORT.get(path.suffix.lower(), path.suffix.lower())
    with path.open("rb") as packed:
        tape = bounded(COMPRESSED[suffix](packed), outer) if suffix in COMPRESSED else packed
        with tarfile.open(fileobj=tape, mode="r|") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # it would keep all of them
                if not info.isdir():
                    member = _Member(path, info.name, info.size, partial(archive.extractfile, info), inner)
                    yield _refused(member, info.isfile()) or member


def _refused(member: Document, plain: bool, unpackable: bool = True) -> Document | None:
    """What is not read, and why."""
    slashed = member.name.replace("\\", "/")
    outside = ".." in PurePosixPath(slashed).parts or slashed.startswith("/") or slashed[1:2] == ":"
    if plain and unpackable and not outside:
        return None
    why = "is packed with a method that is not read" if not unpackable else "has a name that leads out of the archive"
    why = why if plain else "is a link or a device, no plain file"
    return Broken(member.path, member.name, DataError(f"{member.name!r:.80} {why}"))
