"""Write plain MatGL models: what comes out needs nothing but MatGL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from matgl_ssl._folders import atomic_folder
from matgl_ssl.boundary import verb

from .card import model_card
from .files import read_description
from .remote import CARD
from .stamp import make_stamp, sign, stamp_of


@verb
def save_model(model: nn.Module, path: Path, **facts: Any) -> Path:
    """Save a model as MatGL's triple, stamped, with its card: ``path`` holds the old model or the new one, never half.

    Args:
        model: A bare MatGL model without dropout, or a ``Potential`` around one.
        path: The directory to be made or replaced.
        **facts: What the stamp says besides versions and reference predictions.

    Returns:
        ``path``.
    """
    with atomic_folder(path) as partial:
        model.save(partial, metadata=make_stamp(model, **facts))  # type: ignore[operator]
        sign(partial)
        (partial / CARD).write_text(model_card(stamp_of(read_description(partial / "model.json"))), encoding="utf-8")
    return path
