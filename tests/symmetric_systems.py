"""Crystals of space groups with screws and glides, without inversion, and with many operations."""

from __future__ import annotations

from pymatgen.core import Lattice, Structure
from small_systems import from_spacegroup, nacl, rattled, skewed

from matgl_ssl.crystals import Crystal


def of_lattice(group: str, lattice: tuple[float, ...], symbols: list[str], places: list[list[float]]) -> Crystal:
    return Crystal.from_structure(Structure.from_spacegroup(group, Lattice.from_parameters(*lattice), symbols, places))


SYMMETRIC = {
    "glide and screw": of_lattice(
        "P2_1/c", (5.15, 5.21, 5.32, 90, 99.2, 90), ["Zr", "O", "O"],
        [[0.275, 0.04, 0.208], [0.07, 0.332, 0.345], [0.442, 0.757, 0.479]],
    ),
    "three screws": of_lattice(
        "P2_12_12_1", (4.4, 5.1, 3.9, 90, 90, 90), ["Sn", "S"], [[0.11, 0.23, 0.07], [0.4, 0.05, 0.6]]
    ),
    "quartz": of_lattice("P3_221", (4.91, 4.91, 5.4, 90, 90, 120), ["Si", "O"], [[0.47, 0, 2 / 3], [0.41, 0.27, 0.78]]),
    "mirrors": of_lattice(
        "Pnma", (5.4, 7.6, 5.3, 90, 90, 90), ["Ca", "Ti", "O", "O"],
        [[0.04, 0.25, 0.99], [0, 0, 0.5], [0.48, 0.25, 0.07], [0.29, 0.04, 0.71]],
    ),
    "polar": of_lattice("P4mm", (4.0, 4.0, 4.15, 90, 90, 90), ["Ba", "Ti", "O", "O"],
                        [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0.97], [0.5, 0, 0.48]]),
    "rattled salt": rattled(nacl(), 0.1, seed=1),
    "spinel": from_spacegroup("Fd-3m", 8.4, ["Zn", "Fe", "O"], [[1 / 8] * 3, [0.5] * 3, [0.26] * 3]),
    "no symmetry": skewed(),
}  # fmt: skip
