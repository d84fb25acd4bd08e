"""Pretrained encoders that come with the package, by name: nothing is downloaded for them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from matgl_ssl._backend import BACKEND
from matgl_ssl.errors import ModelError

from .files import FILES

FOLDER = Path(__file__).parents[1] / "weights"
"""Holds ``<graph library>/<name>/``, each a saved model: weights are valid with one graph library only."""

_RECIPE = "textbook"
"""What the encoders are pretrained by; the second half of their names."""


def shipped_names(pattern: str = "*", library: str = BACKEND) -> list[str]:
    """Names of the shipped encoders, sorted.

    Args:
        pattern: Shell pattern that the name must match (``MEGNet*``).
        library: ``"pyg"`` or ``"dgl"``.
    """
    folders = FOLDER.glob(f"{library}/*")
    return sorted(f.name for f in folders if fnmatchcase(f.name, pattern) and (f / FILES[-1]).is_file())


def shipped_folder(name: str) -> Path | None:
    """The directory of a shipped encoder; None if there is none of that name.

    Raises:
        ModelError: If it exists for the other graph library only.
    """
    if name in shipped_names():
        return FOLDER / BACKEND / name
    other = "dgl" if BACKEND == "pyg" else "pyg"
    if name in shipped_names(library=other):
        raise ModelError(
            f"{name} belongs to MatGL on {other.upper()}, and this environment has MatGL on {BACKEND.upper()}, where "
            f"its weights would mean something else. Available here: {', '.join(shipped_names()) or 'none'}."
        )
    return None


def shipped_encoder(architecture: str) -> str | None:
    """Name of the shipped encoder of an architecture; None if there is none for this graph library."""
    name = f"{architecture}-{_RECIPE}"
    return name if name in shipped_names() else None
