"""M3GNet's three-body terms as small matrix products, one an atom, instead of sums over a list of triples.

With u the unit vectors of an atom's bonds, all its angles are in ``u uᵀ``. A bond's message sums over the other bonds
of its atom, ``sum_k Y_l(cos theta_jk) w_kln``: for each l the product of an n-by-n and an n-by-3 matrix. Nothing is
listed, gathered or scattered by triple, and the angles serve all blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_STEP = 8
"""Atoms whose numbers of bonds, rounded up to a multiple of this, are equal share their products."""
_EPS = 1e-7
"""MatGL's margin of cos theta from -1 and 1."""


class Angles:
    """The angles between the bonds of each atom.

    Args:
        source: Atom of each bond, ascending, ``(E,)``.
        vectors: Of the bonds in Å, ``(E, 3)``.
        lengths: Of the bonds in Å, ``(E,)``.
        n_atoms: Number of atoms.
        harmonics: Y_l of (cos theta, phi), one for each l.
    """

    def __init__(
        self,
        source: Tensor,
        vectors: Tensor,
        lengths: Tensor,
        n_atoms: int,
        harmonics: Sequence[Callable[[Tensor, Tensor], Tensor]],
    ) -> None:
        n_bonds = torch.bincount(source, minlength=n_atoms)
        first = n_bonds.cumsum(0) - n_bonds
        size = (n_bonds + _STEP - 1).div(_STEP, rounding_mode="floor") * _STEP
        size = torch.where(n_bonds > 1, size, 0)  # one bond makes no angle
        units = torch.cat([vectors / lengths[:, None], vectors.new_zeros(1, 3)])
        self._slots: list[Tensor] = []
        self._harmonics: list[list[Tensor]] = []
        self._place = torch.full_like(source, -1, dtype=torch.long)
        start = 0
        for width in torch.unique(size).tolist():
            if width == 0:
                continue
            atoms = torch.nonzero(size == width).squeeze(1)
            offsets = torch.arange(width, device=source.device)
            there = offsets < n_bonds[atoms][:, None]
            slots = torch.where(there, first[atoms][:, None] + offsets, len(source))
            self._place[slots[there]] = start + torch.nonzero(there.flatten()).squeeze(1)
            start += slots.numel()
            unit = units.index_select(0, slots.flatten()).view(len(atoms), width, 3)
            cosines = torch.bmm(unit, unit.transpose(1, 2)).clamp(min=-1 + _EPS, max=1 - _EPS)
            other = ~torch.eye(width, dtype=torch.bool, device=source.device)
            phi = torch.zeros_like(cosines)
            self._harmonics.append([torch.where(other, y(cosines, phi), 0.0) for y in harmonics])
            self._slots.append(slots.flatten())
        self._start = start
        self.any = bool(self._slots)
        """Whether there is an angle at all."""

    def message(self, weights: Tensor) -> Tensor:
        """``sum_k Y_l(cos theta_jk) weights_k`` for each bond j over the other bonds k of its atom.

        Args:
            weights: ``(E, L * n)``, all n of l = 0 first.

        Returns:
            ``(E, L * n)``.
        """
        width = weights.shape[1]
        padded = torch.cat([weights, weights.new_zeros(1, width)])
        rows = []
        for slots, harmonics in zip(self._slots, self._harmonics, strict=True):
            n_atoms, size, _ = harmonics[0].shape
            parts = padded.index_select(0, slots).view(n_atoms, size, width).chunk(len(harmonics), dim=2)
            sums = [torch.bmm(y, part) for y, part in zip(harmonics, parts, strict=True)]
            rows.append(torch.cat(sums, dim=2).view(-1, width))
        table = torch.cat([*rows, weights.new_zeros(1, width)])  # the last for bonds without a sibling
        place = torch.where(self._place >= 0, self._place, self._start)
        return table.index_select(0, place)
