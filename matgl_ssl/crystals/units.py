"""Units: what a source's energies, forces and stresses are in, and the factors to eV, eV/Å and eV/Å³.

Factors are ASE's (``ase.units``, CODATA 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from ase import units as ase

from matgl_ssl.errors import ConfigError, did_you_mean

ENERGIES: Mapping[str, float] = {
    "eV": 1.0, "meV": 1e-3, "Ha": ase.Hartree, "Ry": ase.Rydberg, "kcal/mol": ase.kcal / ase.mol,
    "kJ/mol": ase.kJ / ase.mol,
}  # fmt: skip
LENGTHS: Mapping[str, float] = {"Å": 1.0, "A": 1.0, "Ang": 1.0, "Bohr": ase.Bohr, "nm": ase.nm}
PRESSURES: Mapping[str, float] = {
    "GPa": ase.GPa, "MPa": 1e-3 * ase.GPa, "kbar": 0.1 * ase.GPa, "kB": 0.1 * ase.GPa, "bar": ase.bar, "Pa": ase.Pascal,
}  # fmt: skip
PER_ATOM = "/atom"
COMPRESSION = "-compression"
"""Ends the unit of a stress that is positive under compression, as VASP writes it; otherwise tension is positive."""


@dataclass(frozen=True)
class Units:
    """The units of a source's labels.

    Attributes:
        energy: One of ``ENERGIES``, of the cell, or with ``/atom``.
        force: An energy of ``ENERGIES`` per length of ``LENGTHS``, as in ``Ha/Bohr``.
        stress: One of ``PRESSURES``, or an energy per volume as in ``eV/Å³``; with ``-compression`` at the end where it
            is positive under compression.

    Raises:
        ConfigError: If one is unknown.
    """

    energy: str = "eV"
    force: str = "eV/Å"
    stress: str = "eV/Å³"

    def __post_init__(self) -> None:
        _ = self.energy_factor, self.force_factor, self.stress_factor

    @property
    def per_atom(self) -> bool:
        """Whether energies are those of an atom on average."""
        return self.energy.endswith(PER_ATOM)

    @property
    def energy_factor(self) -> float:
        """From an energy label to eV, of the cell or the atom."""
        unit = self.energy.removesuffix(PER_ATOM)
        return ENERGIES[unit] if unit in ENERGIES else _unknown("energy", unit, [*ENERGIES, "eV/atom"])

    @property
    def force_factor(self) -> float:
        """From a force label to eV/Å."""
        return _ratio(self.force, "") or _unknown("force", self.force, ["eV/Å", "meV/Å", "Ha/Bohr", "Ry/Bohr"])

    @property
    def stress_factor(self) -> float:
        """From a stress label to eV/Å³, positive under tension."""
        unit = self.stress.removesuffix(COMPRESSION)
        factor = PRESSURES.get(unit) or _ratio(unit.replace("^", "").replace("3", "³"), "³")
        factor = factor or _unknown("stress", self.stress, [*PRESSURES, "eV/Å³", "Ha/Bohr³", f"kbar{COMPRESSION}"])
        return -factor if self.stress.endswith(COMPRESSION) else factor


def _ratio(unit: str, power: str) -> float | None:
    energy, _, length = unit.removesuffix(power).rpartition("/")
    known = energy in ENERGIES and length in LENGTHS and unit.endswith(power)
    return ENERGIES[energy] / LENGTHS[length] ** (3 if power else 1) if known else None


def _unknown(kind: str, unit: str, valid: list[str]) -> NoReturn:
    raise ConfigError(f"Unknown unit of {kind} {unit!r}.{did_you_mean(unit, valid)} For example: {', '.join(valid)}.")
