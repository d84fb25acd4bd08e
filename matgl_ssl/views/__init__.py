"""Views: what of a crystal a pretext shows the encoder, one a file."""

from __future__ import annotations

from .compose import Compose
from .displace_atoms import DisplaceAtoms
from .draw_normal import DrawNormal
from .drop_edges import DropEdges
from .edge_pairs import edge_pairs, one_direction
from .hide_edges import HideEdges
from .mask_atoms import MaskAtoms, MaskCount
from .mask_magnetic_sites import MaskMagneticSites
from .masked import Distances, Resample, Sites, masked
from .permute_neighbours import PermuteNeighbours
from .perturb import Perturb
from .replace_elements import ReplaceElements
from .strain_lattice import StrainLattice
from .supercell import Supercell
from .view import View, sample_generator

__all__ = [
    "Compose",
    "DisplaceAtoms",
    "Distances",
    "DrawNormal",
    "DropEdges",
    "HideEdges",
    "MaskAtoms",
    "MaskCount",
    "MaskMagneticSites",
    "PermuteNeighbours",
    "Perturb",
    "ReplaceElements",
    "Resample",
    "Sites",
    "StrainLattice",
    "Supercell",
    "View",
    "edge_pairs",
    "masked",
    "one_direction",
    "sample_generator",
]
