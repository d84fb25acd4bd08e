"""How a crystal vibrates and yields, by Gordy's rule: springs between neighbours, without a label of the crystal.

Gordy (J. Chem. Phys. 14, 305 (1946)) found the force constants of molecules to be, in N/cm for distances in Å,

    k = 1.67 N (X_i X_j / r²)^(3/4) + 0.30,

with Pauling's electronegativities X and the bond's order N, which in a crystal is that of ``bonds``. Gordy's 0.30 is
left out: orders fade to nothing between atoms that make no bond. A spring also resists sideways, by a tenth, which is
ours: central springs alone leave many crystals floppy. Between two neighbours,

    K_ij = k_ij ((1 - c) n n^T + c I),   n = r_ij / |r_ij|,   c = 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import element_table
from matgl_ssl.crystals.records import Crystal

from .bloch import LARGEST, Coupling, diagonalise
from .bonds import find_bonds
from .neighbours import Neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

_GORDY = 167.0  # N/m
_SIDEWAYS = 0.1
_WAVENUMBER = 130.279  # 1/cm of a unit mass on a spring of 1 N/m: (1 N/m / 1 u)^(1/2) / (2 pi c)
_KELVIN = 1.438777  # K of 1/cm: h c / k_B
_GAS = 8.314463  # J/K/mol


@dataclass(frozen=True, eq=False)
class Springs:
    """The springs of a crystal.

    Attributes:
        pairs: Every neighbour of every atom.
        stiffness: Of each pair's spring along it, N/m, ``(P,)``.
        blocks: Its force constants, ``(P, 3, 3)``.
        own: Each atom's own block, the sum of its springs', ``(N, 3, 3)``.
        mass: Of each atom in u, ``(N,)``.
    """

    pairs: Neighbours
    stiffness: np.ndarray
    blocks: np.ndarray
    own: np.ndarray
    mass: np.ndarray

    @cached_property
    def second(self) -> np.ndarray:
        """Each atom's second moment, ``(N,)``: the mass-weighted matrix, mean over directions."""
        return np.trace(self.own, axis1=1, axis2=2) / (3 * self.mass)

    @property
    def fourth(self) -> np.ndarray:
        """The fourth, ``(N,)``: that of its square."""
        between = (self.blocks**2).sum((1, 2)) / (self.mass[self.pairs.center] * self.mass[self.pairs.other])
        return ((self.own**2).sum((1, 2)) / self.mass**2 + self.pairs.total(between)) / 3


@lru_cache(maxsize=2)
def find_springs(crystal: Crystal) -> Springs | None:
    """A crystal's springs; None where an atom has no neighbour, or an element is not known well enough."""
    bonds = find_bonds(crystal)
    if bonds is None:
        return None
    pairs = bonds.pairs
    reach = bonds.electronegativity[pairs.center] * bonds.electronegativity[pairs.other] / pairs.distance**2
    stiffness = _GORDY * bonds.order * reach**0.75
    along = pairs.vector / pairs.distance[:, None]
    blocks = stiffness[:, None, None] * (
        (1 - _SIDEWAYS) * along[:, :, None] * along[:, None, :] + _SIDEWAYS * np.eye(3)
    )
    mass = element_table(("mass",))[crystal.numbers, 0]
    return Springs(pairs, stiffness, blocks, pairs.total(blocks), mass)


@lru_cache(maxsize=2)
def _spectrum(cell: PrimitiveCell) -> tuple[np.ndarray, np.ndarray] | None:
    """Frequencies at k-points, ``(K, 3N)`` in 1/cm, and weights; None for more than 80 atoms, or no springs."""
    springs = find_springs(cell) if len(cell) <= LARGEST else None
    if springs is None:
        return None
    root = np.sqrt(springs.mass)
    blocks = -springs.blocks / (root[springs.pairs.center] * root[springs.pairs.other])[:, None, None]
    own = springs.own / springs.mass[:, None, None]
    has = np.ones((len(cell), 3), bool)
    found = diagonalise(cell, Coupling(springs.pairs, blocks, own, has, -np.ones(3)))
    return _WAVENUMBER * np.sqrt(np.maximum(found.levels, 0)), found.weights


def _heat_capacity(frequency: np.ndarray, temperature: float) -> np.ndarray:
    """Of harmonic oscillators at constant volume, in k_B: 1 for slow ones."""
    half = np.maximum(frequency, 1e-3) * _KELVIN / (2 * temperature)
    return np.asarray((half / np.sinh(half)) ** 2)


@dataclass(frozen=True)
class AtomVibrations(CellTarget):
    """How stiffly bonds hold each atom, by Gordy's rule for springs, in four numbers.

    Its Einstein frequency, the root of its mean stiffness ``tr K_ii / 3`` over its mass, 1/cm; the root of fourth over
    second moment of its vibrations, which its neighbours' masses enter, 1/cm; logarithms of the stiffness in N/m, and
    of the ratio of the softest to the stiffest direction of ``K_ii``. Moments are those of the whole Brillouin zone.
    """

    name: ClassVar[str] = "atom-vibrations"
    level: ClassVar[Literal["atom"]] = "atom"
    size: ClassVar[int] = 4

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 4)``; NaN where the crystal has an atom without neighbours, or an unknown element."""
        springs = find_springs(cell)
        if springs is None:
            return np.full((len(cell), self.size), np.nan)
        axes = np.linalg.eigvalsh(springs.own)
        frequencies = _WAVENUMBER * np.sqrt([springs.second, springs.fourth / springs.second])
        stiffness = np.trace(springs.own, axis1=1, axis2=2) / 3
        return np.stack([*frequencies, np.log(stiffness), np.log(axes[:, 0] / axes[:, 2])], axis=1)


@dataclass(frozen=True)
class CrystalVibrations(CellTarget):
    """How a crystal vibrates and deforms, by Gordy's rule for springs, in eight numbers.

    The highest, the root mean square and the mean frequency on a mesh of the Brillouin zone, 1/cm; the smallest
    Einstein frequency of its atoms, 1/cm; harmonic heat capacities at 100 and 300 K, J/K/mol per atom; common logarithm
    of the bulk modulus under affine strain in GPa, ``sum_pairs k r² / 18 V``; logarithm of the sum of its stiffnesses
    per atom.
    """

    name: ClassVar[str] = "crystal-vibrations"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 8

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(8,)``; NaN for more than 80 atoms, and where an atom has no neighbour or is unknown."""
        springs, found = find_springs(cell), _spectrum(cell)
        if springs is None or found is None:
            return np.full(self.size, np.nan)
        spectrum, weights = found

        def mean(values: np.ndarray) -> float:
            return float(weights @ values.mean(1))

        slowest = _WAVENUMBER * np.sqrt(springs.second.min())
        capacities = [3 * _GAS * mean(_heat_capacity(spectrum, temperature)) for temperature in (100.0, 300.0)]
        modulus = 10 * (springs.stiffness * springs.pairs.distance**2).sum() / (18 * cell.volume)
        per_atom = springs.stiffness.sum() / len(cell)
        return np.array(
            [spectrum.max(), np.sqrt(mean(spectrum**2)), mean(spectrum), slowest, *capacities,
             np.log10(modulus), np.log(per_atom)]
        )  # fmt: skip


@dataclass(frozen=True)
class VibrationalSpectrum(CellTarget):
    """Deciles of the vibrational frequencies, by Gordy's rule for springs, in 1/cm.

    From the frequency below which a tenth of them lies to the highest; the lowest is zero in every crystal. Each point
    of the Brillouin zone counts by its weight, and deciles between two frequencies are interpolated.
    """

    name: ClassVar[str] = "vibrational-spectrum"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 10

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(10,)``; NaN for more than 80 atoms, and where an atom has no neighbour or is unknown."""
        found = _spectrum(cell)
        if found is None:
            return np.full(self.size, np.nan)
        spectrum, weights = found
        order = np.argsort(spectrum, axis=None)
        weight = np.repeat(weights, spectrum.shape[1])[order]
        below = (np.cumsum(weight) - weight / 2) / weight.sum()
        return np.interp(np.linspace(0.1, 1, self.size), below, spectrum.ravel()[order])
