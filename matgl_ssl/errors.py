"""The errors users see. Each message names what is wrong and what to do about it.

``exit_code`` is what the command line returns for it; 2 is argparse's own code for bad usage.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from matgl_ssl.renamed import ERRORS, current


class MatGLSSLError(Exception):
    """Base of every error that matgl_ssl raises on purpose."""

    exit_code = 1


class ConfigError(MatGLSSLError, ValueError):
    """A configuration key, option or name is unknown, or has a wrong value."""

    exit_code = 2


class DataError(MatGLSSLError, ValueError):
    """A data source cannot be read, lacks a column, or has nothing left after the checks."""

    exit_code = 3


class BadStructureError(DataError):
    """A crystal that no graph network can be trusted with; ``code`` says why (``crystals.report.ADVICE``)."""

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code


class NothingLeftError(BadStructureError):
    """No crystal can be used; ``report`` (a ``CheckReport``) says of each why not."""

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message, report.findings[0].code if report.findings else "empty")
        self.report = report


class BackendError(MatGLSSLError, RuntimeError):
    """A model, or an import, belongs to the other graph library (PyG or DGL)."""

    exit_code = 4


class ModelError(MatGLSSLError, ValueError):
    """A model or checkpoint cannot be found, read or trusted, or cannot do what was asked of it."""

    exit_code = 5


class HubError(ModelError):
    """The Hugging Face hub cannot be reached, lacks a model, or does not let you read or write it."""


class RunDirectoryError(MatGLSSLError, ValueError):
    """A run directory is not empty, not resumable, or belongs to another configuration."""

    exit_code = 6


class NonFiniteError(MatGLSSLError, ArithmeticError):
    """A loss or gradient became NaN or infinite; the offending batch was written down."""

    exit_code = 7


class ResourceError(MatGLSSLError, OSError):
    """A file, folder, disk or the memory of this machine cannot be used as it was asked."""

    exit_code = 8


class NotWrittenError(ResourceError):
    """A file or folder could not be written: the disk is full or broken, or may not be written to."""


class TrainingInterrupted(MatGLSSLError):
    """Training was stopped by a signal after its state was saved; ``--resume`` continues exactly from there."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class ProcessLostError(MatGLSSLError, RuntimeError):
    """A process of a run of several ended before the others; ``--resume`` continues from the last checkpoint."""

    exit_code = 9


def unknown(kind: str, name: str, valid: Iterable[str]) -> ConfigError:
    """The error for a name nobody knows: the nearest one and all the others."""
    valid = sorted(valid)
    return ConfigError(f"Unknown {kind} {name!r}.{did_you_mean(name, valid)} Available: {', '.join(valid) or 'none'}.")


def did_you_mean(name: str, valid: Iterable[str], show: Callable[[str], object] = repr) -> str:
    """A sentence, with a space before it, that names the nearest valid name; empty if none is near."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f" Did you mean {show(near[0])}?" if near else ""


def __getattr__(name: str) -> Any:
    if name in ERRORS:
        return globals()[current(name, ERRORS)]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
