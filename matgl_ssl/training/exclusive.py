"""A run directory belongs to one process at a time."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from matgl_ssl._files import locked
from matgl_ssl.disk import is_full_disk, not_written
from matgl_ssl.errors import RunDirectoryError

from .team import is_first

logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

LOCK = ".lock"
"""The lock's file in a run directory; it stays when the process ends, the lock does not."""


def exclusive(verb: F) -> F:
    """Let a function that takes a run directory as ``out`` have it to itself; of several ranks the first locks it."""

    @wraps(verb)
    def alone(*, out: str | Path, **options: Any) -> Any:
        if not is_first():
            return verb(out=out, **options)
        with occupied(Path(out)):
            return verb(out=out, **options)

    return cast("F", alone)


@contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Keep other processes out of a run directory; where no run comes of it, leave no directory behind.

    A run that fails before its first checkpoint is none: what it has written is removed, but incidents are kept.

    Raises:
        RunDirectoryError: If another process is at work in it, or nothing can be written there.
    """
    if path.exists() and not path.is_dir():
        yield  # refused in words of its own
        return
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with ExitStack() as stack:
            if not _locked(path, stack):
                raise RunDirectoryError(
                    f"{path} is being written by {_holder(path)}. Wait until that run is over or stop it; it can be "
                    "resumed then."
                )
            fresh = not (path / "config.yaml").exists()
            try:
                yield
            except BaseException:
                left = ("checkpoints/last.ckpt", "incidents")  # what somebody can go on with, or learn from
                if fresh and (path / "config.yaml").exists() and not any((path / name).exists() for name in left):
                    for leftover in path.iterdir():
                        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                raise
            finally:
                if not (path / "config.yaml").exists():
                    (path / LOCK).unlink(missing_ok=True)
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _locked(path: Path, stack: ExitStack) -> bool:
    try:
        if not stack.enter_context(locked(path / LOCK, wait=False)):
            return False
        (path / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except (OSError, NotImplementedError) as err:
        if isinstance(err, OSError) and err.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP):
            full = not_written(err, path) if is_full_disk(err) else None
            raise full or RunDirectoryError(f"{path} cannot be written: {err}. Give another --out.") from err
        logger.warning("%s is on a file system without locks: nothing keeps a second run out of it.", path)
    return True


def _holder(path: Path) -> str:
    return (path / LOCK).read_text(encoding="utf-8") or "another process"
