"""Bonds of a crystal and how ionic they are, by Pauling's rules, without a label of the crystal.

An atom shares its bonds among its neighbours by distance, as bond valences go (Brown and Altermatt, Acta Cryst. B41,
244 (1985)): the order of the bond between two neighbours is

    N_ij = s_ij (V_i V_j / sum_k s_ik sum_k s_jk)^(1/2),   s_ij = exp((R_i + R_j - r_ij) / 0.37 Å),

with covalent radii R, Behler's cutoff at 6 Å, and V, how many bonds an element makes: the electrons that it has beyond,
or lacks to, a noble gas; its highest common oxidation state where it has d or f electrons, and for noble gases. Each of
Pauling's electronegativities X then says of a bond (The Nature of the Chemical Bond, 1960, chapter 3) by how much it is
stronger than its elements' own, ``(X_i - X_j)² eV``, and how ionic it is, ``1 - exp(-(X_i - X_j)² / 4)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals.elements import element_table
from matgl_ssl.crystals.records import Crystal

from .neighbours import Neighbours, cosine_cutoff, find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

_SOFTNESS = 0.37  # Å
_CUTOFF = 6.0  # Å
_FURTHEST = 5.99  # Å: an atom whose nearest neighbour is further away has none


@lru_cache(maxsize=1)
def _bonds_made() -> np.ndarray:
    """How many bonds each element makes, by atomic number: V, NaN where nothing is known."""
    made = np.full(len(element_table(("group",))), np.nan)
    for number in range(1, len(made)):
        element = Element.from_Z(number)
        if element.block in "sp" and element.group != 18:
            made[number] = min(element.group % 10, 18 - element.group)
        elif element.common_oxidation_states:
            made[number] = max(element.common_oxidation_states)
    return made


@dataclass(frozen=True, eq=False)
class Bonds:
    """The bonds of a crystal, each seen from both of its ends.

    Attributes:
        pairs: Every neighbour of every atom.
        order: Of the bond between them: N, ``(P,)``.
        made: How many bonds each atom would make: V, ``(N,)``.
        electronegativity: Of each atom, ``(N,)``.
    """

    pairs: Neighbours
    order: np.ndarray
    made: np.ndarray
    electronegativity: np.ndarray

    @cached_property
    def pull(self) -> np.ndarray:
        """By how much each pair's neighbour is more electronegative than its centre, ``(P,)``."""
        return self.electronegativity[self.pairs.other] - self.electronegativity[self.pairs.center]

    @cached_property
    def ionicity(self) -> np.ndarray:
        """How ionic each bond is, 0 to 1, ``(P,)``."""
        return 1 - np.exp(-(self.pull**2) / 4)

    @cached_property
    def of_atoms(self) -> np.ndarray:
        """Each atom's charge, half its bonds' ionic energy in eV, sums of their orders and of order times length."""
        parts = [self.ionicity * np.sign(self.pull), self.pull**2 / 2, np.ones_like(self.order), self.pairs.distance]
        return self.pairs.total((self.order * np.array(parts)).T).T


@lru_cache(maxsize=2)
def find_bonds(crystal: Crystal) -> Bonds | None:
    """A crystal's bonds; None where an atom has no neighbour, or an element is not known well enough."""
    pairs = find_neighbours(crystal, _CUTOFF)
    radius, electronegativity = element_table(("covalent-radius", "electronegativity"))[crystal.numbers].T
    made = _bonds_made()[crystal.numbers]
    i, j, r = pairs.center, pairs.other, pairs.distance
    valence = np.exp((radius[i] + radius[j] - r) / _SOFTNESS) * cosine_cutoff(r, _CUTOFF)
    total = pairs.total(valence)
    if np.isnan(radius + electronegativity + made).any() or pairs.nearest().max() > _FURTHEST:
        return None
    return Bonds(pairs, valence * np.sqrt(made[i] * made[j] / (total[i] * total[j])), made, electronegativity)


@dataclass(frozen=True)
class AtomBonds(CellTarget):
    """Each atom's bonds by Pauling's rules, in four numbers.

    Its charge, the ionic part of its bonds' electrons; half of what its bonds are stronger for being ionic, eV;
    logarithm of the sum of their orders over how many it would make; their mean length weighted by order, Å.
    """

    name: ClassVar[str] = "atom-bonds"
    level: ClassVar[Literal["atom"]] = "atom"
    size: ClassVar[int] = 4

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 4)``; NaN where the crystal has an atom without neighbours, or an unknown element."""
        bonds = find_bonds(cell)
        if bonds is None:
            return np.full((len(cell), self.size), np.nan)
        charge, energy, orders, lengths = bonds.of_atoms
        return np.stack([charge, energy, np.log(orders / bonds.made), lengths / orders], axis=1)


@dataclass(frozen=True)
class CrystalBonds(CellTarget):
    """A crystal's bonds by Pauling's rules, in six numbers.

    Energy of formation per atom, eV, if being ionic were all that binds it; mean ionicity of its bonds, weighted by
    order; mean size of its atoms' charges; root mean square of the logarithm of the sum of an atom's orders over how
    many it would make; mean length of its bonds weighted by order, Å; the highest order.
    """

    name: ClassVar[str] = "crystal-bonds"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 6

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(6,)``; NaN where an atom has no neighbour, or an element is not known well enough."""
        bonds = find_bonds(cell)
        if bonds is None:
            return np.full(self.size, np.nan)
        charge, energy, orders, _ = bonds.of_atoms
        share = bonds.order / bonds.order.sum()
        return np.array(
            [
                -energy.mean(),
                share @ bonds.ionicity,
                np.abs(charge).mean(),
                np.sqrt((np.log(orders / bonds.made) ** 2).mean()),
                share @ bonds.pairs.distance,
                bonds.order.max(),
            ]
        )
