"""The record: one crystal as arrays, without the cost of a pymatgen ``Structure``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from matgl_ssl.errors import BadStructureError

if TYPE_CHECKING:
    from ase import Atoms


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
        """Element symbol of each atom."""
        return [Element.from_Z(int(z)).symbol for z in self.numbers]

    @property
    def volume(self) -> float:
        """Cell volume in Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def formula(self) -> str:
        """Reduced formula, as pymatgen writes it."""
        from pymatgen.core import Composition

        numbers, counts = np.unique(self.numbers, return_counts=True)
        amounts = {Element.from_Z(int(z)).symbol: int(n) for z, n in zip(numbers, counts, strict=True)}
        return Composition(amounts).reduced_formula

    @classmethod
    def from_structure(cls, structure: Structure, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Crystal:
        """Take a pymatgen structure; oxidation states and site properties are left behind.

        Raises:
            BadStructureError: If a site is disordered or holds something other than an element.
        """
        disordered = [i for i, site in enumerate(structure) if not site.is_ordered]
        if disordered:
            raise BadStructureError(
                f"{id or structure.formula}: site {disordered[0]} is disordered ({structure[disordered[0]].species}). "
                "Graph networks need one element per site: order it first, for example with pymatgen's "
                "OrderDisorderedStructureTransformation."
            )
        try:
            numbers = np.array([Element(site.specie.symbol).Z for site in structure], dtype=np.int64)
        except ValueError as err:
            raise BadStructureError(f"{id or structure.formula}: {err}") from err
        return cls(
            numbers,
            np.array(structure.frac_coords, dtype=float).reshape(-1, 3),
            np.array(structure.lattice.matrix, dtype=float),
            id=id,
            labels=labels or {},
        )

    @classmethod
    def from_atoms(cls, atoms: Atoms, *, id: str = "", labels: Mapping[str, Any] | None = None) -> Crystal:
        """Take ASE atoms, periodic in three dimensions.

        Raises:
            BadStructureError: If the atoms are not periodic in all three directions.
        """
        if not all(atoms.pbc):
            raise BadStructureError(
                f"{id or atoms.get_chemical_formula()}: periodic along {list(map(bool, atoms.pbc))} only. "
                "matgl_ssl reads crystals; put a slab or molecule in a periodic cell with vacuum "
                "(atoms.center(vacuum=10); atoms.pbc = True)."
            )
        cell = np.array(atoms.cell[:], dtype=float)
        if abs(np.linalg.det(cell)) < 1e-12:
            raise BadStructureError(f"{id or atoms.get_chemical_formula()}: the cell has no volume: {cell.tolist()}")
        frac = np.linalg.solve(cell.T, np.array(atoms.positions, dtype=float).T).T
        return cls(np.array(atoms.numbers, dtype=np.int64), frac, cell, id=id, labels=labels or {})

    def to_structure(self) -> Structure:
        """Return the pymatgen structure."""
        return Structure(Lattice(self.lattice), [Element.from_Z(int(z)) for z in self.numbers], self.frac_coords)

    def to_atoms(self) -> Atoms:
        """Return ASE atoms."""
        from ase import Atoms

        return Atoms(numbers=self.numbers, cell=self.lattice, scaled_positions=self.frac_coords, pbc=True)
