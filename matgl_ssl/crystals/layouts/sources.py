"""Sources: the documents in files, folders and archives, and the entries of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from matgl_ssl.crystals.layouts import PARSERS, file_kind, readable
from matgl_ssl.crystals.layouts.archives import Broken, archive_name, members
from matgl_ssl.crystals.layouts.documents import Document
from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.errors import DataError

BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}


def is_readable(name: str) -> bool:
    """Whether a file of this name holds crystals, or may."""
    return (
        file_kind(name) in PARSERS or PurePosixPath(name).suffix.lower() in BUILDERS or archive_name(name) is not None
    )


def files_in(folder: Path) -> tuple[list[Path], list[OSError]]:
    """The readable files of a folder and its subfolders but hidden ones, and the errors of those that are closed."""
    closed: list[OSError] = []
    files: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(root, name) for name in names if not name.startswith(".") and is_readable(name)]
    return sorted(files), closed


def documents(files: Sequence[Path], root: Path) -> Iterator[Document]:
    """The documents in files: they themselves, or what an archive among them holds, as a folder would.

    Each can be read until the next one is asked for. Names are relative to ``root``, or to a single archive.
    """
    for file in files:
        name = readable(file.relative_to(root).as_posix())
        if (folder := archive_name(name)) is None:
            yield Document(file, name)
            continue
        try:
            for member in members(file):
                inner = PurePosixPath(member.name.replace("\\", "/"))  # as Windows writes it
                hidden = any(part == "__MACOSX" or (part != ".." and part.startswith(".")) for part in inner.parts)
                if is_readable(inner.name) and archive_name(inner.name) is None and not hidden:
                    member.name = str(inner if len(files) == 1 else PurePosixPath(folder, *inner.parts))
                    yield member
        except DataError as err:
            yield Broken(file, name, err)


def entries(document: Document) -> Iterator[Entry]:
    """The entries of a document; what breaks it comes as one more entry, the exception."""
    try:
        if not document.size:
            raise DataError("the file is empty")
        if (kind := file_kind(document.name)) not in PARSERS:
            raise DataError(f"a file *{kind} within an archive is not read: unpack the archive first")
        yield from PARSERS[kind](document)
    except Exception as err:  # parsers raise whatever they like on what they cannot parse
        yield "", err, {}
