"""The masked crystal that several pretexts ask about."""

from __future__ import annotations

from typing import Literal

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
    static = resample == "never"
    if distances == "visible":
        return MaskAtoms(fraction=fraction, static=static)
    return Compose(views=(MaskAtoms(fraction=fraction), HideEdges()), static=static)
