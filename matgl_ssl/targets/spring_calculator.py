"""A force field that no crystal was calculated for: Pauling's energy at rest, and Gordy's springs around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from matgl_ssl.crystals.records import Crystal

from .bonds import find_bonds
from .vibrations import Springs, find_springs

_EV = 1 / 16.021766  # eV/Å² of a N/m


class GordySprings(Calculator):
    """Energies, forces and stresses of a crystal's harmonic springs (see ``vibrations``).

    With the force constants K of the springs between neighbours of the crystal at rest, and by how much the vector from
    one to the other has changed, ``d_ij = r_ij - r_ij(rest)``,

        E = E(rest) + 1/4 sum over pairs of d_ij^T K_ij d_ij,

    each bond being two pairs. E(rest) is what the bonds are stronger for being ionic (see ``bonds``), negative.
    Forces and stress are the exact derivatives by positions and symmetric strain; at rest they are zero. The springs
    know the displacements from rest, not only the structure: ``at_rest`` says what that is, and without it the first
    structure is. Energies are per cell as given, in eV.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self) -> None:
        super().__init__()
        self._springs: Springs | None = None
        self._vectors = np.zeros((0, 3))
        self._energy = 0.0

    def at_rest(self, atoms: Atoms) -> None:
        """Hang up the springs of a crystal at rest.

        Raises:
            ValueError: If an atom has no neighbour within 6 Å, or an element is not known well enough.
        """
        crystal = Crystal(atoms.numbers, atoms.get_scaled_positions(wrap=False), np.asarray(atoms.cell))
        self._springs, bonds = find_springs(crystal), find_bonds(crystal)
        if self._springs is None or bonds is None:
            raise ValueError("an atom has no neighbour, or an element is not known well enough for springs")
        self._vectors = self._springs.pairs.vector
        self._energy = -float(bonds.of_atoms[1].sum())
        self.reset()

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Compute all three."""
        super().calculate(atoms, properties, system_changes)
        if self._springs is None:
            self.at_rest(self.atoms)
        springs, cell, x = self._springs, np.asarray(self.atoms.cell), self.atoms.positions
        assert springs is not None  # noqa: S101 - at_rest saw to it
        pairs = springs.pairs
        vectors = x[pairs.other] + pairs.image @ cell - x[pairs.center]
        change = vectors - self._vectors
        pull = np.einsum("pij,pj->pi", springs.blocks, change)
        virial = pull.T @ vectors / 2
        self.results = {
            "energy": self._energy + float((pull * change).sum()) / 4 * _EV,
            "forces": pairs.total(pull) * _EV,
            "stress": _voigt((virial + virial.T) / 2 * _EV / abs(np.linalg.det(cell))),
        }


def _voigt(stress: np.ndarray) -> np.ndarray:
    return stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
