"""The boundary to the system and to other libraries: what they raise reaches users as typed errors."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from matgl_ssl.disk import another_place, is_full_disk, not_written
from matgl_ssl.errors import ConfigError, DataError, MatGLSSLError, ResourceError

P = ParamSpec("P")
T = TypeVar("T")

_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def verb(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function one that users call: it raises ``MatGLSSLError`` for all that is not a fault of this package."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with typed_errors():
            return function(*args, **kwargs)

    return called


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise what ``typed`` makes of an exception instead of it."""
    try:
        yield
    except MatGLSSLError:
        raise
    except Exception as err:
        known = typed(err)
        if known is None:
            raise
        raise known from err


def typed(err: BaseException) -> MatGLSSLError | None:
    """The typed error for an exception of the system or of a library, or of one in its chain of causes.

    Returns:
        None if it is none that users cause or can mend.
    """
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, MatGLSSLError):
            return seen
        if isinstance(seen, UnicodeError):
            return DataError(f"A file, or the name of one, is not UTF-8: {seen}. Save it as UTF-8, or rename it.")
        if is_out_of_memory(seen):
            return ResourceError(f"Out of memory: {seen}. Give a smaller --batch-size or --max-edges.")
        if is_full_disk(seen):
            named = isinstance(seen, OSError) and _path(seen)
            full = not_written(seen, Path(named)) if named else None
            return full or ResourceError(f"{seen}. The disk or a quota is full: free space, or give another place.")
        if isinstance(seen, OSError) and seen.errno not in (None, errno.EPIPE):
            where = f"{_path(seen)}: " if _path(seen) else ""
            return ResourceError(
                f"{where}{seen.strerror or seen}. Make it readable and writable, or {another_place(_path(seen))}."
            )
        names = {cls.__name__ for cls in type(seen).__mro__}  # without importing the libraries
        if "ArrowException" in names:
            return DataError(f"The table cannot be used as it is: {seen}")
        if "MisconfigurationException" in names:
            return ConfigError(str(seen))
        seen = seen.__cause__
    return None


def is_out_of_memory(err: BaseException) -> bool:
    """Whether memory ran out: of the machine, where torch raises a bare RuntimeError, or of a device."""
    return isinstance(err, MemoryError) or (
        isinstance(err, RuntimeError) and any(text in str(err).lower() for text in _MEMORY)
    )


def _path(err: OSError) -> str:
    return os.fsdecode(err.filename) if isinstance(err.filename, str | bytes | os.PathLike) else ""
