"""Every view passes the suite that other packages inherit."""

from __future__ import annotations

from typing import ClassVar

from small_systems import ELEMENTS

from matgl_ssl.testing import ViewTests
from matgl_ssl.views import (
    Compose,
    DisplaceAtoms,
    DrawNormal,
    DropEdges,
    HideEdges,
    MaskAtoms,
    MaskMagneticSites,
    PermuteNeighbours,
    Perturb,
    ReplaceElements,
    StrainLattice,
    Supercell,
    View,
)


class TestViews(ViewTests):
    views: ClassVar = [
        View(), DisplaceAtoms(), DisplaceAtoms(topology="clean"), DrawNormal(per_atom=2, per_crystal=3), DropEdges(),
        HideEdges(fraction=0.2), MaskAtoms(), MaskMagneticSites(), PermuteNeighbours(), Perturb(),
        ReplaceElements(n_elements=len(ELEMENTS)), StrainLattice(), Supercell(max_atoms=20),
        Compose(views=(MaskAtoms(), HideEdges())),
    ]  # fmt: skip
