"""Views: what of a crystal a pretext shows the encoder, one a file."""

from __future__ import annotations

from .compose import Compose
from .displace_atoms import NOISE, DisplaceAtoms
from .drop_edges import DropEdges
from .edge_pairs import edge_pairs, one_direction
from .hide_edges import HideEdges
from .mask_atoms import MaskAtoms, MaskCount
from .masked import Distances, Resample, is_static, masked
from .perturb import Perturb
from .supercell import Supercell
from .view import View, sample_generator

__all__ = [
    "NOISE",
    "Compose",
    "DisplaceAtoms",
    "Distances",
    "DropEdges",
    "HideEdges",
    "MaskAtoms",
    "MaskCount",
    "Perturb",
    "Resample",
    "Supercell",
    "View",
    "edge_pairs",
    "is_static",
    "masked",
    "one_direction",
    "sample_generator",
]
