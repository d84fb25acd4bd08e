"""The masked crystal that several pretexts ask about."""

from __future__ import annotations

from typing import Literal

from .compose import Compose
from .hide_edges import HideEdges
from .mask_atoms import MaskAtoms
from .mask_magnetic_sites import MaskMagneticSites
from .view import View

Resample = Literal["epoch", "never"]
Distances = Literal["visible", "hidden"]
Sites = Literal["any", "magnetic"]


def masked(
    fraction: float, *, distances: Distances = "visible", resample: Resample = "epoch", sites: Sites = "any"
) -> View:
    """The view with masked atoms. Equal arguments give equal views, which a mixture encodes once.

    Args:
        fraction: Share of the atoms; ``int(fraction * N + 1)`` of them are masked.
        distances: Whether the encoder sees the lengths and directions of the edges that touch a masked atom.
        resample: Draw new masks each ``"epoch"``, or ``"never"``: once before training.
        sites: Mask ``"any"`` atoms, or ``"magnetic"`` ones and as many others (see ``MaskMagneticSites``).
    """
    static, mask = resample == "never", MaskAtoms if sites == "any" else MaskMagneticSites
    if distances == "visible":
        return mask(fraction=fraction, static=static)
    return Compose(views=(mask(fraction=fraction), HideEdges()), static=static)
