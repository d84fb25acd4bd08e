"""London dispersion by Grimme's D4 (Caldeweyher et al., Phys. Chem. Chem. Phys. 22, 8499 (2020)), from geometry alone.

Atomic polarizabilities depend on coordination numbers and on charges of electronegativity equilibration; energies are
sums over pairs, damped for the functional PBE. The Axilrod-Teller-Muto terms of triples are left out: they take a
thousand times as long. The numbers are those of the package ``dftd4``, which comes with ``matgl_ssl[dispersion]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from matgl_ssl.errors import ConfigError

from .primitive import PrimitiveCell
from .target import CellTarget

_BOHR = 0.529177210544  # Å
_HARTREE = 27.211386246  # eV
_HEAVIEST = 103  # lawrencium, the last element of D4
_PBE = {"s6": 1.0, "s8": 0.95948085, "a1": 0.38574991, "a2": 4.80688534, "s9": 0.0}
"""Damping for PBE of that paper; ``s9`` would scale the terms of triples."""


class _Dispersion(NamedTuple):
    """What D4 says of a cell: energy in eV, C6 of like atoms in Hartree Bohr⁶, polarizabilities in Bohr³, charges."""

    energy: float
    c6: np.ndarray
    polarizability: np.ndarray
    charge: np.ndarray


@cache
def _library() -> Any:
    """dftd4's interface.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        from dftd4 import interface
    except ImportError as err:
        raise ConfigError(
            "Targets of dispersion need the package dftd4: pip install 'matgl_ssl[dispersion]', or leave them out."
        ) from err
    return interface


@cache
def _threads() -> ThreadpoolController:
    _library()
    return ThreadpoolController()


@lru_cache(maxsize=2)
def _dispersion(cell: PrimitiveCell) -> _Dispersion | None:
    """D4 of a cell; None where it has no parameters, or finds no numbers."""
    library = _library()
    if cell.numbers.max() > _HEAVIEST:
        return None
    periodic = np.ones(3, dtype=bool)
    with _threads().limit(limits=1):  # on cells as small as these, threads wait for each other
        try:
            model = library.DispersionModel(
                cell.numbers, cell.cart_coords / _BOHR, lattice=cell.lattice / _BOHR, periodic=periodic
            )
            found = model.get_properties()
            energy = model.get_dispersion(library.DampingParam(**_PBE), grad=False)["energy"]
        except RuntimeError:
            return None
    values = _Dispersion(
        float(energy) * _HARTREE, np.diag(found["c6 coefficients"]), found["polarizabilities"], found["partial charges"]
    )
    return values if all(np.isfinite(value).all() for value in values) and (values.c6 > 0).all() else None


@dataclass(frozen=True)
class AtomDispersion(CellTarget):
    """Each atom's London dispersion by D4, in three numbers.

    Logarithm to base 10 of its C6 coefficient with itself (Hartree Bohr⁶), logarithm to base 10 of its static
    polarizability (Bohr³), and its charge by electronegativity equilibration.
    """

    name: ClassVar[str] = "atom-dispersion"
    level: ClassVar[Literal["atom"]] = "atom"
    version: ClassVar[int] = 1
    size: ClassVar[int] = 3

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 3)``; NaN where D4 knows an element not.

        Raises:
            ConfigError: If dftd4 is not installed.
        """
        if (found := _dispersion(cell)) is None:
            return np.full((len(cell), self.size), np.nan)
        return np.column_stack([np.log10(found.c6), np.log10(found.polarizability), found.charge])


@dataclass(frozen=True)
class CrystalDispersion(CellTarget):
    """A crystal's London dispersion by D4, in five numbers.

    Energy per atom (eV) and per volume (meV/Å³); mean logarithm to base 10 of its atoms' C6 coefficients (Hartree
    Bohr⁶); polarizability of its atoms per volume (no unit); root mean square of their charges.
    """

    name: ClassVar[str] = "crystal-dispersion"
    level: ClassVar[Literal["crystal"]] = "crystal"
    version: ClassVar[int] = 1
    size: ClassVar[int] = 5

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(5,)``; NaN where D4 knows an element not.

        Raises:
            ConfigError: If dftd4 is not installed.
        """
        if (found := _dispersion(cell)) is None:
            return np.full(self.size, np.nan)
        density = found.polarizability.sum() * _BOHR**3 / cell.volume
        return np.array(
            [
                found.energy / len(cell), 1e3 * found.energy / cell.volume, np.log10(found.c6).mean(), density,
                np.sqrt((found.charge**2).mean()),
            ]
        )  # fmt: skip
