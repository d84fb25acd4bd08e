"""Views: what of a crystal a pretext shows the encoder, one a file."""

from __future__ import annotations

from .compose import Compose
from .displace_atoms import NOISE, DisplaceAtoms
from .mask_atoms import MaskAtoms
from .view import View, sample_generator

__all__ = ["NOISE", "Compose", "DisplaceAtoms", "MaskAtoms", "View", "sample_generator"]
