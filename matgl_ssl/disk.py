"""The error for a disk that is full or broken: which path, how much was written, how much is free, how to continue."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from matgl_ssl.errors import MatGLSSLError, NotWrittenError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "a quota is full", errno.EFBIG: "a limit of sizes is reached"}
_CACHES = {
    "HF_DATASETS_CACHE": "~/.cache/huggingface/datasets",
    "HF_HOME": "~/.cache/huggingface",
    "MPLCONFIGDIR": "~/.config/matplotlib",
    "XDG_CACHE_HOME": "~/.cache",
}
_BROKEN = (errno.EIO, errno.EROFS, errno.ESTALE)
_TORCHS = ("PytorchStreamWriter failed", "unexpected pos", "iostream error")
"""What torch says when it cannot write; it does not say why."""


def is_full_disk(err: BaseException) -> bool:
    """Whether a disk, a quota or a limit of the system was full; torch raises a bare RuntimeError then."""
    if isinstance(err, OSError):
        return err.errno in _FULL
    return isinstance(err, RuntimeError) and any(text in str(err) for text in _TORCHS)


def not_written(err: BaseException, path: Path, partial: Path | None = None) -> NotWrittenError | None:
    """The error for a file or folder that could not be written.

    Args:
        err: What came of writing it.
        path: The file or folder.
        partial: What was to take its place.

    Returns:
        None if ``err`` is of another kind, or names another file.
    """
    names = [err.filename, err.filename2] if isinstance(err, OSError) else []
    named = [Path(name) for name in names if isinstance(name, str)]
    is_ours = any(n in (p, *p.parents) or p in n.parents for n in named for p in (path, partial) if p)
    is_full = is_full_disk(err)
    is_known = is_full or (isinstance(err, OSError) and (named or err.errno in _BROKEN))
    if isinstance(err, MatGLSSLError) or not is_known or (named and not is_ours):
        return None
    why = "the disk is full or broken"  # torch does not say
    if isinstance(err, OSError):
        why = _FULL.get(err.errno or 0) or err.strerror or str(err)
    room = ""
    if is_full:
        written, before = (_size(place) for place in (partial, path))
        room = f" after {written:.1f} MB of it" + (f" (what is there now has {before:.1f} MB)" if before else "")
        room += f", and {shutil.disk_usage(_there(path)).free / 1e6:.1f} MB are free"
    mend = "Free some space" if is_full else "Look at the disk and its permissions"
    return NotWrittenError(
        f"{path} cannot be written: {why}{room}. What was there before is still there. {mend}, or "
        f"{another_place(str(path))}. Then give the command again (a run continues with --resume)."
    )


def another_place(path: str) -> str:
    """How to use another place than a path: a cache is named by a variable."""
    for variable, default in _CACHES.items():
        if path.startswith(os.environ.get(variable) or os.path.expanduser(default)):  # noqa: PTH111 - there may be no home
            return f"set {variable} to another folder: this is a cache"
    return "give another path"


def _size(path: Path | None) -> float:
    """Megabytes of a file or of all files of a folder."""
    if path is None or not path.exists():
        return 0.0
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*"))) / 1e6


def _there(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
