"""The electron density of free atoms put together, seen from each atom: what its neighbours' tails are at its nucleus.

A promolecule is the sum of its atoms' free densities (Hirshfeld, Theor. Chim. Acta 44, 129 (1977)). A free atom's is
that of Slater's rules (Phys. Rev. 36, 57 (1930)): a shell of N electrons has the radial function

    R(r) = r^(n* - 1) exp(-zeta r),   zeta = (Z - s) / n* per bohr.

The effective quantum number n* is 1, 2, 3, 3.7, 4.0 and 4.2 for the first six periods; 4.3 for the seventh, where
Slater's end, is ours. The screening s is what the rules give for the configuration of the ground state.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gamma, pi
from typing import ClassVar, Literal

import numpy as np
from pymatgen.core import Element

from .neighbours import find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

_BOHR = 0.529177210903  # Å
_EFFECTIVE = (1.0, 2.0, 3.0, 3.7, 4.0, 4.2, 4.3)
_LARGEST = 103
_WHOLE, _CUTOFF = 6.0, 8.0  # Å: densities are whole to the first, and fade to nothing at the second
_NEGLIGIBLE = 1e-9  # electrons/Å³: an atom that sees no more has no neighbour


@lru_cache(maxsize=128)
def slater_shells(number: int) -> np.ndarray:
    """Electrons, effective quantum number and exponent (1/Å) of each of Slater's shells, ``(S, 3)``.

    Args:
        number: Atomic number, 1 to 103. Of others there is no shell: ``(0, 3)``.
    """
    electrons: dict[tuple[int, int], int] = {}  # by n, and 0 for s and p, 1 for d, 2 for f: in the order of the rules
    if 1 <= number <= _LARGEST:
        for n, orbital, count in Element.from_Z(number).full_electronic_structure:
            shell = (n, {"s": 0, "p": 0, "d": 1, "f": 2}[orbital])
            electrons[shell] = electrons.get(shell, 0) + count
    rows = []
    for (n, kind), count in sorted(electrons.items()):
        screening = (0.30 if n == 1 else 0.35) * (count - 1)
        for (other, other_kind), others in electrons.items():
            if kind == 0 and other == n - 1:
                screening += 0.85 * others
            elif other < n - (kind == 0) or (kind and other == n and other_kind < kind):
                screening += others
        effective = _EFFECTIVE[n - 1]
        rows.append([count, effective, (number - screening) / effective / _BOHR])
    return np.array(rows).reshape(-1, 3)


def free_atom(number: int, distance: np.ndarray) -> np.ndarray:
    """A free atom's density in electrons/Å³ at distances in Å, ``(R,)``, and its first two derivatives: ``(3, R)``."""
    electrons, effective, zeta = slater_shells(number).T[:, :, None]
    power = 2 * effective - 2
    norm = electrons * (2 * zeta) ** (power + 3) / (4 * pi * np.vectorize(gamma, otypes=[float])(power + 3))
    density = norm * distance**power * np.exp(-2 * zeta * distance)
    slope = power / distance - 2 * zeta
    return np.stack([density, density * slope, density * (slope**2 - power / distance**2)]).sum(axis=1)


def _fading(distance: np.ndarray) -> np.ndarray:
    """A factor that falls from 1 to 0 between the two radii, with two continuous derivatives: ``(3, R)``."""
    width = _CUTOFF - _WHOLE
    t = np.clip((distance - _WHOLE) / width, 0.0, 1.0)
    return np.stack(
        [
            1 - t**3 * (10 - 15 * t + 6 * t**2),
            -30 * t**2 * (1 - t) ** 2 / width,
            -60 * t * (1 - t) * (1 - 2 * t) / width**2,
        ]
    )


@dataclass(frozen=True)
class PromolecularDensity(CellTarget):
    """The summed electron density of all other free atoms at each nucleus, in four numbers.

    Logarithm of the density in electrons/Å³; over the density, the length of its gradient in 1/Å, its Laplacian in
    1/Å², and the norm of what its second derivatives are beyond the Laplacian in 1/Å². These are its moments of order
    0, 1, 0 and 2 about the nucleus. That of order 1 vanishes at a centre of inversion, that of order 2 at a cubic site.

    No density functional theory is done. Kumar et al. (arXiv 2605.07227) learn from densities of such calculations,
    which are not at hand for a corpus of structures.
    """

    name: ClassVar[str] = "promolecular-density"
    level: ClassVar[Literal["atom"]] = "atom"
    version: ClassVar[int] = 1
    size: ClassVar[int] = 4

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 4)``; NaN beside an element that is not known, and where there is hardly any density."""
        pairs = find_neighbours(cell, _CUTOFF)
        numbers, r = cell.numbers[pairs.other], pairs.distance
        parts = np.full((3, len(r)), np.nan)
        for number in np.unique(numbers):
            of_it = numbers == number
            if len(slater_shells(int(number))):
                parts[:, of_it] = free_atom(int(number), r[of_it])
        (value, slope, curvature), (factor, falls, bends) = parts, _fading(r)
        value, slope, curvature = (
            value * factor, slope * factor + value * falls, curvature * factor + 2 * slope * falls + value * bends
        )  # fmt: skip
        along = pairs.vector / r[:, None]
        density = pairs.total(value)
        gradient = -pairs.total(slope[:, None] * along)
        outward = along[:, :, None] * along[:, None, :]
        across = (slope / r)[:, None, None]
        hessian = pairs.total(across * np.eye(3) + (curvature[:, None, None] - across) * outward)
        laplacian = np.trace(hessian, axis1=1, axis2=2)
        rest = hessian - laplacian[:, None, None] / 3 * np.eye(3)
        density = np.where(density > _NEGLIGIBLE, density, np.nan)
        sizes = np.stack([np.linalg.norm(gradient, axis=1), laplacian, np.linalg.norm(rest, axis=(1, 2))])
        return np.column_stack([np.log(density), *(sizes / density)])
