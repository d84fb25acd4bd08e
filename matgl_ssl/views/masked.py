"""The masked crystal that several pretexts ask about."""

from __future__ import annotations

from typing import Literal

from matgl_ssl.errors import ConfigError

from .compose import Compose
from .hide_edges import HideEdges
from .mask_atoms import MaskAtoms
from .view import View

Resample = Literal["epoch", "never"]
Distances = Literal["visible", "hidden"]


def masked(fraction: float, *, distances: Distances = "visible", resample: Resample = "epoch") -> View:
    """The view with masked atoms. Equal arguments give equal views, which a mixture encodes once.

    Args:
        fraction: Share of the atoms; ``int(fraction * N + 1)`` of them are masked.
        distances: Whether the encoder sees the lengths and directions of the edges that touch a masked atom.
        resample: Draw the masks anew each ``"epoch"``, or ``"never"``: once before training.
    """
    static = is_static(resample)
    if distances == "visible":
        return MaskAtoms(fraction=fraction, static=static)
    if distances == "hidden":
        return Compose(views=(MaskAtoms(fraction=fraction), HideEdges()), static=static)
    raise ConfigError(f"distances must be 'visible' or 'hidden', not {distances!r}.")


def is_static(resample: Resample) -> bool:
    """Whether a view that is resampled so rarely is drawn once before training."""
    if resample not in ("epoch", "never"):
        raise ConfigError(f"resample must be 'epoch' or 'never', not {resample!r}.")
    return resample == "never"
