"""Atoms' surroundings as (species, distance) pairs, true ones and negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.losses import gather, rows_before

SAME_DISTANCE = 1e-3
"""Distances that differ by less (Å) are equal where neighbours are ordered: rounding must not decide."""


@dataclass(eq=False)
class Pairs:
    """A species and a distance for each edge.

    Attributes:
        species: Positions in the model's element list, ``(E,)``, int64.
        distance: Å, ``(E,)``.
        counts: False where there is no such pair, or a negative is the true pair, ``(E,)`` bool.
    """

    species: Tensor
    distance: Tensor
    counts: Tensor


class Environments:
    """The surroundings of a batch's atoms, whose partners are atoms of another crystal of the joint batch.

    Crystal ``c`` of ``B`` has the partner ``(c + B // 2) mod B``, wherever that lies; its n-th atom the partner's n-th,
    an atom's k-th nearest neighbour the partner's k-th nearest, each counted modulo what is there. Equally near ones
    are ordered by element. Nothing here is differentiable.

    Args:
        crystals: The batch.
        dtype: Floating-point type of the distances.

    Attributes:
        site: Atom of each edge, in order, ``(E,)``.
        true: The true pairs of species and distance.
    """

    def __init__(self, crystals: CrystalBatch, dtype: torch.dtype) -> None:
        site, neighbour = crystals.edge_index
        species, distance = crystals.node_type[neighbour], crystals.edge_vectors().norm(dim=1).to(dtype).detach()
        order = torch.argsort(species, stable=True)
        for key in ((distance / SAME_DISTANCE).round(), site):
            order = order[torch.argsort(key[order], stable=True)]
        self.crystals, self.site = crystals, site[order]
        species, distance = species[order], distance[order]
        self.true = Pairs(species, distance, torch.ones_like(species, dtype=torch.bool))
        self._edge, self._exists = self._partner_edges()
        self._species, self._distance = gather(species), gather(distance)

    def fake(self, kind: str) -> Pairs:
        """The pairs of one of ``FAKES``."""
        return FAKES[kind](self)

    def roll(self) -> Pairs:
        """The partner's surroundings as they are."""
        return Pairs(self._species[self._edge], self._distance[self._edge], self._exists)

    def swapped_species(self) -> Pairs:
        """The partner's species at the true distances."""
        species = self._species[self._edge]
        return Pairs(species, self.true.distance, self._exists & (species != self.true.species))

    def swapped_geometry(self) -> Pairs:
        """The true species at the partner's distances."""
        return Pairs(self.true.species, self._distance[self._edge], self._exists)

    def permuted(self) -> Pairs:
        """The true distances with the species of the crystal's edge that comes half its number of edges later."""
        n = self.crystals.n_edges
        first = torch.repeat_interleave(n.cumsum(0) - n, n)
        n = torch.repeat_interleave(n, n)
        place = torch.arange(len(n), device=n.device) - first
        species = self.true.species[first + (place + n // 2) % n]
        return Pairs(species, self.true.distance, species != self.true.species)

    def _partner_edges(self) -> tuple[Tensor, Tensor]:
        """Number of each edge's counterpart in the joint batch, and whether it has one."""
        crystals, site = self.crystals, self.site
        degree = torch.bincount(site, minlength=len(crystals.node_type))
        n_atoms, degrees = gather(crystals.n_atoms), gather(degree)
        first_atom, first_edge = n_atoms.cumsum(0) - n_atoms, degrees.cumsum(0) - degrees
        other = partners(crystals)[crystals.batch]
        place = _place(crystals.batch, crystals.n_atoms)
        partner = (first_atom[other] + place % n_atoms[other])[site]
        edge = first_edge[partner] + _place(site, degree) % degrees[partner].clamp(min=1)
        exists = (degrees[partner] > 0) & (len(n_atoms) > 1)
        return edge.clamp(max=max(int(degrees.sum()) - 1, 0)), exists


FAKES: dict[str, Callable[[Environments], Pairs]] = {
    "roll": Environments.roll,
    "species": Environments.swapped_species,
    "geometry": Environments.swapped_geometry,
    "permutation": Environments.permuted,
}


def partners(crystals: CrystalBatch) -> Tensor:
    """Number in the joint batch of each crystal's partner, ``(B,)``: itself only where there is no other."""
    n = len(gather(crystals.n_atoms))
    before = rows_before(len(crystals), crystals.n_atoms)
    return (before + torch.arange(len(crystals), device=crystals.n_atoms.device) + n // 2) % n


def _place(group: Tensor, sizes: Tensor) -> Tensor:
    """Place of each row within its group; groups come one after the other."""
    return torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]
