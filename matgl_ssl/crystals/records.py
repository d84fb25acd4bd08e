"""The record: one crystal as arrays, without the cost of a pymatgen ``Structure``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Element, Lattice, PeriodicSite, Structure

from matgl_ssl.errors import BadStructureError

if TYPE_CHECKING:
    from ase import Atoms

DOUBT = "matgl_ssl:doubt"
"""A label, and a property of pymatgen structures, of what was read but must not be used: a code of ``report.ADVICE``, a
colon, and the reason. It stays with the crystal until ``check_structure`` refuses it."""
ALMOST = 1e-3
"""A site whose occupancy misses 1 by no more is taken to be full: refined and rounded values do."""
NEAR = 8
"""Cells away from the origin up to which float32, in which graphs are made, keeps a position to 1e-6 of a cell."""
FAR = 1e8
"""Cells away from the origin at which float64 no longer keeps a position well enough."""
_VACUUM = "put a slab or molecule in a periodic cell with vacuum (atoms.center(vacuum=10); atoms.pbc = True)."


@dataclass(frozen=True, eq=False)
class Crystal:
    """An ordered, three-dimensionally periodic crystal.

    Attributes:
        numbers: Atomic numbers, shape ``(N,)``, int64.
        frac_coords: Fractional coordinates, shape ``(N, 3)``, float64.
        lattice: Lattice vectors as rows in Å, shape ``(3, 3)``, float64.
        id: Name of the crystal in its source.
        labels: Values that came with it (scalars, or arrays such as ``forces`` ``(N, 3)`` in eV/Å).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray
    id: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def cart_coords(self) -> np.ndarray:
        """Cartesian coordinates in Å, shape ``(N, 3)``."""
        return self.frac_coords @ self.lattice

    @property
    def symbols(self) -> list[str]:
        """Element symbol of each atom; ``X``, as in ASE, where the element is unknown."""
        return [Element.from_Z(int(z)).symbol if z else "X" for z in self.numbers]

    @property
    def volume(self) -> float:
        """Cell volume in Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def formula(self) -> str:
        """Reduced formula, as pymatgen writes it; empty where an element is unknown."""
        from pymatgen.core import Composition

        if not self.numbers.all():
            return ""
        numbers, counts = np.unique(self.numbers, return_counts=True)
        amounts = {Element.from_Z(int(z)).symbol: int(n) for z, n in zip(numbers, counts, strict=True)}
        return Composition(amounts).reduced_formula

    @classmethod
    def from_structure(cls, structure: Structure, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Crystal:
        """Take a pymatgen structure; oxidation states, isotopes and site properties are left behind.

        Raises:
            BadStructureError: If it is not periodic in all three directions, or a site holds several elements, is
                partly empty (by more than ``ALMOST``), or holds something other than an element.
        """
        name = id or structure.formula
        if not all(structure.pbc):
            raise BadStructureError(f"{name}: periodic along {list(structure.pbc)} only: {_VACUUM}", "not-periodic")
        numbers = np.array([_only_element(site, i, name) for i, site in enumerate(structure)], dtype=np.int64)
        return cls(
            numbers,
            np.array(structure.frac_coords, dtype=float).reshape(-1, 3),
            np.array(structure.lattice.matrix, dtype=float),
            id=id,
            labels={**(labels or {}), **{k: v for k, v in structure.properties.items() if k == DOUBT}},
        )

    @classmethod
    def from_atoms(cls, atoms: Atoms, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Crystal:
        """Take ASE atoms, periodic in three dimensions.

        Raises:
            BadStructureError: If the atoms are not periodic in all three directions.
        """
        if not all(atoms.pbc):
            raise BadStructureError(
                f"{id or atoms.get_chemical_formula()}: periodic along {list(map(bool, atoms.pbc))} only: {_VACUUM}",
                "not-periodic",
            )
        cell = np.array(atoms.cell[:], dtype=float)
        if abs(np.linalg.det(cell)) < 1e-12:
            name = id or atoms.get_chemical_formula()
            raise BadStructureError(f"{name}: the cell has no volume: {cell.tolist()}", "no-volume")
        frac = np.linalg.solve(cell.T, np.array(atoms.positions, dtype=float).T).T
        return cls(np.array(atoms.numbers, dtype=np.int64), frac, cell, id=id, labels=labels or {})

    def wrapped(self) -> Crystal:
        """The same crystal with atoms that are more than ``NEAR`` cells away brought into the cell; itself if none is.

        Coordinates beyond ``FAR`` stay as they are: float64 has lost them already.
        """
        shift = np.floor(self.frac_coords)
        shift[~((np.abs(shift) > NEAR) & (np.abs(shift) < FAR))] = 0
        return replace(self, frac_coords=self.frac_coords - shift) if shift.any() else self

    def to_structure(self) -> Structure:
        """Return the pymatgen structure."""
        return Structure(Lattice(self.lattice), [Element.from_Z(int(z)) for z in self.numbers], self.frac_coords)

    def to_atoms(self) -> Atoms:
        """Return ASE atoms."""
        from ase import Atoms

        return Atoms(numbers=self.numbers, cell=self.lattice, scaled_positions=self.frac_coords, pbc=True)


def _only_element(site: PeriodicSite, index: int, name: str) -> int:
    """The atomic number of a full site; one element in several oxidation states or isotopes is one."""
    try:
        elements = {Element(specie.symbol).Z for specie in site.species}
    except ValueError as err:
        raise BadStructureError(f"{name}: site {index}: {err}", "unknown-element") from err
    if len(elements) != 1 or abs(site.species.num_atoms - 1) > ALMOST:
        raise BadStructureError(
            f"{name}: site {index} is disordered ({site.species}). Graph networks need one element per site: order it "
            "first, for example with pymatgen's OrderDisorderedStructureTransformation.",
            "disordered",
        )
    return int(elements.pop())
