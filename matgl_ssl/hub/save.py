"""Write plain MatGL models: what comes out needs nothing but MatGL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from .stamp import make_stamp


def save_model(model: nn.Module, path: Path, **facts: Any) -> Path:
    """Save a model as MatGL's triple, stamped, in one move: ``path`` is the old model or the new one, never half.

    Args:
        model: A bare MatGL model without dropout, or a ``Potential`` around one.
        path: The directory to be made or replaced.
        **facts: What the stamp says besides versions and reference predictions.

    Returns:
        ``path``.
    """
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save(partial, metadata=make_stamp(model, **facts))  # type: ignore[operator]
    if path.exists():
        path.replace(old)
    partial.replace(path)
    shutil.rmtree(old, ignore_errors=True)
    return path
