"""A crystal's elastic constants by Gordy's springs (see ``vibrations``), atoms relaxed, without a label of the crystal.

A spring between neighbours a vector r apart is strained by ``d_ij = e r_ij + u_j - u_i``, with the strain e and the
displacements u that atoms make when the cell is strained. Its energy ``1/4 sum over pairs of d^T K d`` is a quadratic
form of both; least over u (Born and Huang, Dynamical Theory of Crystal Lattices, 1954, chapter 3),

    V C = S_ee - S_eu S_uu^-1 S_ue.

In the notation of Mandel a symmetric tensor is a vector of six with the same length, and C a matrix of 6 by 6 whose
eigenvalues do not depend on the orientation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .bloch import LARGEST
from .primitive import PrimitiveCell
from .target import CellTarget
from .vibrations import Springs, find_springs

_GPA_ANGSTROM = 10.0  # GPa of 1 N/m per Å
_RIGID = 1e-9  # of the stiffest mode: below it are the three translations, and what nothing holds
_FLOPPY = 1e-5  # GPa: springs that resist less are the tails of the rule, and no bonds

_I, _J = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
_MANDEL = np.zeros((6, 3, 3))
"""The six unit strains."""
_MANDEL[np.arange(6), _I, _J] = _MANDEL[np.arange(6), _J, _I] = np.where(_I == _J, 1.0, np.sqrt(0.5))
_DILATION = np.array([1.0, 1, 1, 0, 0, 0]) / np.sqrt(3)


def elastic_constants(springs: Springs, volume: float, *, relaxed: bool = True) -> np.ndarray:
    """The matrix C of a cell's springs in GPa, in Mandel's notation, ``(6, 6)``.

    Args:
        springs: The springs of the cell.
        volume: Its volume in Å³.
        relaxed: Whether the atoms of the strained cell find their places, or move with it.
    """
    pairs, n = springs.pairs, len(springs.mass)
    strained = np.einsum("sab,pb->psa", _MANDEL, pairs.vector)  # of each pair by each unit strain
    pull = np.einsum("pab,psb->psa", springs.blocks, strained)
    stiffness = np.einsum("psa,pta->st", strained, pull) / 2
    if relaxed:
        coupling = -pairs.total(pull).transpose(0, 2, 1).reshape(3 * n, 6)
        hessian = np.zeros((n, n, 3, 3))
        np.add.at(hessian, (pairs.center, pairs.other), -springs.blocks)
        hessian[np.arange(n), np.arange(n)] += springs.own
        values, modes = np.linalg.eigh(hessian.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))
        moving = values > _RIGID * values[-1]
        along = modes[:, moving].T @ coupling
        stiffness = stiffness - along.T @ (along / values[moving, None])
    return _GPA_ANGSTROM * stiffness / volume


@dataclass(frozen=True)
class Elasticity(CellTarget):
    """A crystal's elastic constants by Gordy's rule for springs, in six numbers.

    Common logarithms of Hill's bulk and shear moduli in GPa; Poisson's ratio of a polycrystal; logarithm of one plus
    the universal anisotropy ``5 G_V / G_R + K_V / K_R - 6`` (Ranganathan and Ostoja-Starzewski, Phys. Rev. Lett. 101,
    055504 (2008)); common logarithm of the softest strain's stiffness, the smallest eigenvalue of C, in GPa; the share
    of Voigt's shear modulus that is left when the atoms relax.
    """

    name: ClassVar[str] = "elasticity"
    level: ClassVar[Literal["crystal"]] = "crystal"
    version: ClassVar[int] = 1
    size: ClassVar[int] = 6

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(6,)``.

        NaN for more than 80 atoms, where an atom has no neighbour or is unknown, and where a strain costs next to
        nothing.
        """
        springs = find_springs(cell) if len(cell) <= LARGEST else None
        if springs is None:
            return np.full(self.size, np.nan)
        stiffness = elastic_constants(springs, cell.volume)
        strains = np.linalg.eigvalsh(stiffness)
        if strains[0] < _FLOPPY:
            return np.full(self.size, np.nan)
        bulk_voigt, shear_voigt = _averages(stiffness)
        bulk_reuss, shear_reuss = 1 / _averages(np.linalg.inv(stiffness)) / [9, 4]
        bulk, shear = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
        anisotropy = 5 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6
        _, affine = _averages(elastic_constants(springs, cell.volume, relaxed=False))
        return np.array(
            [
                np.log10(bulk),
                np.log10(shear),
                (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
                np.log1p(max(anisotropy, 0.0)),
                np.log10(strains[0]),
                shear_voigt / affine,
            ]
        )


def _averages(matrix: np.ndarray) -> np.ndarray:
    """What is left of C when it is averaged over orientations: K and G. Of the inverse, 1 / 9K and 1 / 4G."""
    dilation = _DILATION @ matrix @ _DILATION
    return np.array([dilation / 3, (np.trace(matrix) - dilation) / 10])
