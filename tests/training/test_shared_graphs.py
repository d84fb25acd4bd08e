"""Views that leave the crystal as it is share its neighbours."""

from __future__ import annotations

import torch
from small_systems import ELEMENTS, nacl, skewed

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.training.loader import ViewDataset
from matgl_ssl.views import (
    Compose,
    DisplaceAtoms,
    DropEdges,
    HideEdges,
    MaskAtoms,
    PermuteNeighbours,
    ReplaceElements,
    Supercell,
    View,
)


def test_views_that_leave_the_crystal_as_it_is_share_one_neighbour_search():
    """And are the graphs that each would have built."""
    unchanged = [
        View(), MaskAtoms(), Compose(views=(MaskAtoms(), HideEdges())), DropEdges(fraction=0.3), PermuteNeighbours(),
        ReplaceElements(n_elements=len(ELEMENTS)), DisplaceAtoms(topology="clean"),
    ]  # fmt: skip
    changed = [DisplaceAtoms(), Supercell(max_atoms=8)]
    crystals = CrystalDataset.from_crystals([nacl(), skewed()])
    built = []

    class Counting(GraphBuilder):
        def __call__(self, crystal):
            built.append(crystal.id)
            return super().__call__(crystal)

    views = [*unchanged, *changed]
    together = ViewDataset(crystals, Counting(ELEMENTS, 4.0), views, seed=7)[0, 1]
    assert len(built) == 1 + len(changed)
    alone = [ViewDataset(crystals, GraphBuilder(ELEMENTS, 4.0), [view], seed=7)[0, 1][0] for view in views]
    for found, expected in zip(together, alone, strict=True):
        for part, whole in ((vars(found), vars(expected)), (found.atom, expected.atom), (found.edge, expected.edge)):
            assert part.keys() == whole.keys()
            assert all(torch.equal(x, whole[k]) for k, x in part.items() if isinstance(x, torch.Tensor))
