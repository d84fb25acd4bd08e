"""A table of the elements' properties, each in units of its spread over the periodic table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from pymatgen.core import Element

PROPERTIES = {
    "atomic number": "Z",
    "atomic mass": "atomic_mass",
    "row": "row",
    "group": "group",
    "first ionisation energy": "ionization_energy",
    "electronegativity": "X",
    "atomic radius": "atomic_radius",
    "density": "density_of_solid",
}
"""What the table holds, and pymatgen's names for it: the eight of Site-Net (Moran et al., arXiv 2407.00671)."""

_LAST = 103


def element_properties(symbols: Sequence[str]) -> np.ndarray:
    """Standardised properties of elements.

    Values are pymatgen's, standardised over H to Lr. What pymatgen does not have (densities of gases, electronegativity
    and radius of noble gases, much of the last actinoids) is 0, the mean.

    Args:
        symbols: Element symbols.

    Returns:
        Shape ``(len(symbols), len(PROPERTIES))``.
    """
    return _table()[[Element(symbol).Z - 1 for symbol in symbols]]


@cache
def _table() -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each value it does not have
        values = [[getattr(Element.from_Z(z), name) for name in PROPERTIES.values()] for z in range(1, _LAST + 1)]
    table = np.array([[np.nan if value is None else float(value) for value in row] for row in values])
    return np.nan_to_num((table - np.nanmean(table, 0)) / np.nanstd(table, 0))
