"""A crystal as a network of springs, one between each two neighbours, stiffer the nearer they are for their size.

Stiffnesses have the form of Pauling's bond valences, ``s_ij = exp((R_i + R_j - r_ij) / b)``, with covalent radii for R
and Behler's cutoff: no potential, no label, and no unit (a common factor drops out when columns are standardised). A
spring also resists sideways, by a tenth: central springs alone leave many crystals floppy. Between two neighbours,

    K_ij = s_ij ((1 - c) n n^T + c I),   n = r_ij / |r_ij|,   c = 0.1,

and an atom's own block of force constants is the sum of its springs'. What is taken from it are moments of the
vibrational spectrum over the whole Brillouin zone, which are sums over neighbours, exactly and without diagonalisation,
and the bulk modulus under affine strain.

Brown and Altermatt's b (Acta Cryst. 1985, B41, 244) is 0.37 Å, for radii of their own and one kind of bonding. Here,
for all kinds of bonding, it is longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import element_table
from matgl_ssl.crystals.records import Crystal

from .neighbours import Neighbours, cosine_cutoff, find_neighbours
from .target import Target

_SIDEWAYS = 0.1


@dataclass(frozen=True, eq=False)
class _Springs:
    """The springs of a crystal.

    Attributes:
        pairs: Every neighbour of every atom.
        stiffness: Of each pair's spring, ``(P,)``.
        own: Each atom's own block, ``(N, 3, 3)``.
        second: Second moment of each atom's vibrations, ``(N,)``: the mass-weighted matrix, mean over directions.
        fourth: The fourth, ``(N,)``: that of its square.
    """

    pairs: Neighbours
    stiffness: np.ndarray
    own: np.ndarray
    second: np.ndarray
    fourth: np.ndarray


def _springs(crystal: Crystal, softness: float, cutoff: float) -> _Springs:
    pairs = find_neighbours(crystal, cutoff)
    radius, mass = element_table(("covalent-radius", "mass"))[crystal.numbers].T
    stiffness = np.exp((radius[pairs.center] + radius[pairs.other] - pairs.distance) / softness)
    stiffness *= cosine_cutoff(pairs.distance, cutoff)
    along = pairs.vector / pairs.distance[:, None]
    outer = along[:, :, None] * along[:, None, :]
    blocks = stiffness[:, None, None] * ((1 - _SIDEWAYS) * outer + _SIDEWAYS * np.eye(3))
    own = pairs.total(blocks)
    between = (blocks**2).sum((1, 2)) / (mass[pairs.center] * mass[pairs.other])
    second = np.trace(own, axis1=1, axis2=2) / (3 * mass)
    fourth = ((own**2).sum((1, 2)) / mass**2 + pairs.total(between)) / 3
    return _Springs(pairs, stiffness, own, second, fourth)


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm, NaN where there are no springs."""
    return np.log(np.where(values > 0, values, np.nan))


@dataclass(frozen=True)
class AtomSprings(Target):
    """How each atom is held by its springs (see the module), in four numbers.

    Its Einstein frequency, the root of its mean stiffness ``tr K_ii / 3`` over its mass; the root of fourth over second
    moment of its vibrations, which its neighbours' masses enter; logarithms of the stiffness, and of the ratio of the
    softest to the stiffest direction of ``K_ii``.

    Attributes:
        softness: b in Å.
        cutoff: Å.
    """

    name: ClassVar[str] = "atom-springs"
    level: ClassVar[Literal["atom"]] = "atom"

    softness: float = 1.0
    cutoff: float = 6.0

    @property
    def size(self) -> int:
        """Four."""
        return 4

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it, ``(N, 4)``; NaN for an atom without neighbours, or that has or meets no covalent radius."""
        springs = _springs(crystal, self.softness, self.cutoff)
        held = springs.second > 0  # not so where it is NaN
        axes = np.linalg.eigvalsh(np.where(held[:, None, None], springs.own, np.eye(3)))
        second = np.where(held, springs.second, np.nan)
        stiffness = np.trace(springs.own, axis1=1, axis2=2) / 3
        frequencies = np.sqrt([second, springs.fourth / second])
        return np.stack([*frequencies, _log(stiffness), _log(np.where(held, axes[:, 0] / axes[:, 2], np.nan))], axis=1)


@dataclass(frozen=True)
class CrystalSprings(Target):
    """How a crystal of springs (see the module) vibrates and yields, in six numbers.

    Its root mean square frequency; the root of fourth over second moment of its spectrum, a frequency near the top;
    the largest and the smallest Einstein frequency of its atoms; logarithms of the bulk modulus under affine strain,
    ``sum_pairs s r² / 18 V``, and of the stiffness of its springs per atom.

    Attributes:
        softness: b in Å.
        cutoff: Å.
    """

    name: ClassVar[str] = "crystal-springs"
    level: ClassVar[Literal["crystal"]] = "crystal"

    softness: float = 1.0
    cutoff: float = 6.0

    @property
    def size(self) -> int:
        """Six."""
        return 6

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it, ``(6,)``; NaN where an atom has no neighbour or no covalent radius."""
        springs = _springs(crystal, self.softness, self.cutoff)
        second = np.where(springs.second > 0, springs.second, np.nan)
        mean, fourth = second.mean(), springs.fourth.mean()
        modulus = (springs.stiffness * springs.pairs.distance**2).sum() / (18 * crystal.volume)
        frequencies = np.sqrt([mean, fourth / mean, second.max(), second.min()])
        return np.concatenate([frequencies, _log(np.array([modulus, springs.stiffness.sum() / len(crystal)]))])
