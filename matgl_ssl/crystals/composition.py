"""Compositions as numbers, and the energy each element contributes by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals.storage import CrystalDataset


def compositions(crystals: CrystalDataset, element_types: Sequence[str]) -> np.ndarray:
    """Atoms of each element in each crystal, shape ``(len(crystals), len(element_types))``."""
    index = {Element(symbol).Z: i for i, symbol in enumerate(element_types)}
    counts = np.zeros((len(crystals), len(element_types)))
    for row, numbers in zip(counts, crystals.column("numbers"), strict=True):
        np.add.at(row, [index[int(z)] for z in numbers], 1.0)
    return counts


def elements_of(crystals: CrystalDataset) -> list[str]:
    """Symbols of the elements that occur, by atomic number."""
    numbers: set[int] = set()
    for z in crystals.each("numbers"):
        numbers.update(z.tolist())
    return [Element.from_Z(z).symbol for z in sorted(numbers)]


def element_references(energies: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Least-squares energy of each element, shape ``(n_elements,)``; zero for those that do not occur.

    Args:
        energies: Total energies, shape ``(n,)``.
        counts: Atoms of each element, shape ``(n, n_elements)``. The fit is of minimal norm where they are dependent.
    """
    return np.linalg.lstsq(counts, energies, rcond=1e-8)[0]
