"""Readings: the units and signs that labels may have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from matgl_ssl.crystals.units import ENERGIES, Units

ENERGY = {unit: Units(energy=unit).energy_factor for unit in ENERGIES}
"""In eV, the expected one first."""
FORCE = {unit: Units(force=unit).force_factor
         for unit in ("eV/Å", "Ha/Bohr", "Ry/Bohr", "meV/Å", "kcal/mol/Å", "kJ/mol/Å")}  # fmt: skip
"""In eV/Å, likewise."""
STRESS = {unit: Units(stress=unit).stress_factor for unit in ("eV/Å³", "GPa", "kbar", "Ha/Bohr³", "Ry/Bohr³")}
"""In eV/Å³, likewise."""
EXPECTED = ("eV", "eV/Å", "eV/Å³")


@dataclass(frozen=True)
class Reading:
    """One way to take energies, forces and stresses.

    Attributes:
        units: Those of the three.
        per_atom: Whether energies are divided by the number of atoms.
        signs: Of forces and stresses: -1 for gradients, and for stresses that are positive under compression.
    """

    units: tuple[str, str, str]
    per_atom: bool = False
    signs: tuple[int, int] = (1, 1)

    @property
    def forces(self) -> float:
        """Energy in its unit for each unit of the forces' work."""
        return self.signs[0] * FORCE[self.units[1]] / ENERGY[self.units[0]]

    @property
    def stress(self) -> float:
        """The same of the stresses' work."""
        return self.signs[1] * STRESS[self.units[2]] / ENERGY[self.units[0]]

    @property
    def cost(self) -> int:
        """In how many ways it is not what is expected; units of one system, like Ha and Ha/Bohr, are one way."""
        unusual = {unit.partition("/")[0] for unit in self.units if unit not in EXPECTED}
        return len(unusual) + self.per_atom + self.signs.count(-1)


def readings(forces: bool, stress: bool) -> Iterator[Reading]:
    """All readings of energies with forces, with stresses, or with both; what is not there is as expected."""
    units = product(ENERGY, FORCE if forces else EXPECTED[1:2], STRESS if stress else EXPECTED[2:])
    signs = list(product((1, -1) if forces else (1,), (1, -1) if stress else (1,)))
    for named, per_atom, signed in product(units, (False, True), signs):
        yield Reading(named, per_atom, signed)


def nearest_unit(factor: float, units: Mapping[str, float]) -> str | None:
    """The unit that is worth this factor of the first of ``units``, within a third; None if none is."""
    return next((unit for unit, worth in units.items() if abs(math.log(factor / worth)) < math.log(4 / 3)), None)
