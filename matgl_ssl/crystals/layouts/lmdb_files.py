"""LMDB files: where the values of the main table lie, page by page.

LMDB's own library maps a file into memory and believes its offsets: one changed byte ends the process. Here each is
looked at first. The format is that of LMDB 0.9 on 64-bit machines (http://www.lmdb.tech, ``MDB_page`` in ``mdb.c``).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from matgl_ssl.errors import DataError

_MARK = (0xBEEFC0DE, 1)
_HEADER = 16
"""Bytes before a page's content."""
_BRANCH, _LEAF = 1, 2
_ELSEWHERE = 1
"""Mark of a node whose value has pages of its own."""
_NO_PAGE = 2**64 - 1
_LONGEST_KEY = 511


def places(content: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    """The keys of a file, and of each where its value begins and how long it is.

    Raises:
        DataError: If it is no LMDB file, or damaged.
    """
    try:
        yield from _places(content)
    except struct.error as err:
        raise DataError(f"a damaged LMDB file: {err}") from err


def _places(content: mmap.mmap) -> Iterator[tuple[bytes, int, int]]:
    (page_size,) = struct.unpack_from("<I", content, 40)
    states = [struct.unpack_from("<II104xQ8xQ", content, start + _HEADER) for start in (0, page_size)]
    states = [state for state in states if state[:2] == _MARK]
    if not states or not 256 <= page_size <= 65536:
        raise DataError("no LMDB file, or one of another version than 0.9's")
    root = max(states, key=lambda state: state[3])[2]
    pending = [] if root == _NO_PAGE else [root]
    pages, free = len(content) // page_size, len(content)
    while pending:
        page, pages = pending.pop() * page_size, pages - 1
        kind, end = struct.unpack_from("<HH", content, page + 10)
        if pages < 0 or not kind & (_BRANCH | _LEAF) or end > page_size:
            raise DataError("a damaged LMDB file: its pages make no tree")
        for node in struct.unpack_from(f"<{(end - _HEADER) // 2}H", content, page + _HEADER):
            low, high, mark, key_size = struct.unpack_from("<4H", content, page + node)
            if kind & _BRANCH:
                pending.append(low | high << 16 | mark << 32)
                continue
            key, size = page + node + 8, low | high << 16
            start = key + key_size
            if mark == _ELSEWHERE:
                start = struct.unpack_from("<Q", content, start)[0] * page_size + _HEADER
            free -= size
            if mark not in (0, _ELSEWHERE) or key_size > _LONGEST_KEY or start + size > len(content) or free < 0:
                raise DataError("a damaged LMDB file: a value lies outside, or on another")
            yield content[key : key + key_size], start, size
