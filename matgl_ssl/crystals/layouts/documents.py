"""Documents: what parsers read, be it a file, a compressed file or a member of an archive, within stated limits."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from matgl_ssl._files import scratch_folder
from matgl_ssl.errors import DataError

UTF8 = "utf-8-sig"  # Windows' editors put a mark before the text
MAX_RATIO = 100
"""What is unpacked may be this many times larger than the file: crystals' JSON is 5 to 30 times, a bomb 1,000 times."""
ANY_RATIO = 64 << 20
"""Up to this many bytes, the ratio does not matter: a small table may well repeat one crystal."""
MAX_UNPACKED = 1 << 40
"""Bytes that come out of one file at most."""
MAX_TEXT = 64 << 20
"""Bytes of a file that can only be read as a whole, as a CIF."""
MAX_ENTRY = 32 << 20
"""Bytes of one entry (a line, a frame, an item) of a file that holds many."""
_PIECE = 1 << 16
_XZ_MEMORY = 128 << 20
"""Bytes that unpacking xz may take: twice what ``xz -9`` asks for. A file may ask for 4 GiB."""


class _Xz(io.RawIOBase):
    """What an xz file holds; ``lzma.open`` takes whatever memory it asks for."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored, self._decoder = stored, self._new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest, content = b"", b""
        while not content:
            if self._decoder.eof:  # another one may follow, after zeros
                rest = self._decoder.unused_data.lstrip(b"\0")
                while not rest:
                    if not (piece := self._stored.read(_PIECE)):
                        return 0
                    rest = piece.lstrip(b"\0")
                self._decoder = self._new()
            elif self._decoder.needs_input and not rest and not (rest := self._stored.read(_PIECE)):
                raise EOFError("the xz file ends too early")
            content, rest = self._decoder.decompress(rest, len(buffer)), b""
        buffer[: len(content)] = content
        return len(content)

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


COMPRESSED: dict[str, Callable[[BinaryIO], BinaryIO]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": _Xz}  # type: ignore[dict-item]


class Budget:
    """How much may still come out of one compressed file or archive."""

    def __init__(self, packed: int, name: str) -> None:
        self.limit = self.left = min(MAX_UNPACKED, max(ANY_RATIO, MAX_RATIO * packed))
        self.name = name

    def take(self, count: int) -> None:
        """Account for unpacked bytes.

        Raises:
            DataError: If they are more than the limit.
        """
        self.left -= count
        if self.left < 0:
            raise DataError(
                f"{self.name}: unpacks to more than {self.limit:,} bytes. What is unpacked may have {MAX_RATIO} times "
                "the size of the file. If you trust it, unpack it yourself and read the result."
            )


class Document:
    """A file that may be compressed.

    Attributes:
        path: The file that holds it.
        name: The name that messages and ids are made from, with forward slashes.
        budget: How much may be unpacked, if several documents share that.
    """

    def __init__(self, path: Path, name: str | None = None, budget: Budget | None = None) -> None:
        self.path = path
        self.name = path.name if name is None else name
        self.budget = budget

    @property
    def size(self) -> int:
        """Bytes as they are stored."""
        return self.path.stat().st_size

    def stored(self) -> BinaryIO:
        """The bytes as they are stored."""
        return self.path.open("rb")

    def open(self) -> BinaryIO:
        """The bytes, unpacked while they are read.

        Raises:
            DataError: While reading, when what is unpacked is beyond the limit.
        """
        unpack = COMPRESSED.get(Path(self.name).suffix.lower())
        if unpack is None:
            return self.stored()
        stored = self.stored()
        return bounded(unpack(stored), self.budget or Budget(self.size, self.name), stored)

    def start(self, limit: int) -> bytes:
        """The first ``limit`` bytes, or all."""
        content = bytearray()
        with self.open() as stream:  # in pieces: a buffer of the limit's size would be taken at once
            while len(content) < limit and (piece := stream.read(min(_PIECE, limit - len(content)))):
                content += piece
        return bytes(content)

    def text(self) -> str:
        """All of it.

        Raises:
            DataError: If it is too large to be read at once.
        """
        content = self.start(MAX_TEXT + 1)
        if len(content) > MAX_TEXT:
            raise DataError(f"{self.name}: larger than {MAX_TEXT:,} bytes, the limit of files that are read at once")
        return io.TextIOWrapper(io.BytesIO(content), encoding=UTF8).read()

    def lines(self) -> Iterator[str]:
        """One line after the other, their ends included.

        Raises:
            DataError: If one is too long to be read at once.
        """
        with io.TextIOWrapper(self.open(), encoding=UTF8) as stream:
            while line := stream.readline(MAX_ENTRY):
                if len(line) == MAX_ENTRY:
                    raise DataError(f"{self.name}: a line of {MAX_ENTRY:,} characters or more; no entry is that large")
                yield line

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A path for a library that wants one: the file itself, or a temporary copy of what is packed."""
        if type(self) is Document and Path(self.name).suffix.lower() not in COMPRESSED:
            yield self.path
            return
        with scratch_folder(Path(tempfile.gettempdir()), "matgl_ssl") as folder:
            path = folder / ("document" + Path(unpacked_name(self.name)).suffix.lower())
            with self.open() as packed, path.open("wb") as copy:
                shutil.copyfileobj(packed, copy)
            yield path


def unpacked_name(name: str) -> str:
    """A file's name without the suffix of its compression."""
    return name[: -len(suffix)] if (suffix := Path(name).suffix).lower() in COMPRESSED else name


def bounded(stream: BinaryIO, budget: Budget, *beneath: BinaryIO) -> BinaryIO:
    """A stream whose bytes count against a budget, closed together with what lies beneath it."""
    return io.BufferedReader(_Bounded(budget, stream, *beneath), _PIECE)


class _Bounded(io.RawIOBase):
    def __init__(self, budget: Budget, *streams: BinaryIO) -> None:
        self._budget, self._streams = budget, streams

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        content = self._streams[0].read(min(len(view), _PIECE))
        self._budget.take(len(content))
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()
