"""Properties of elements: weights of fingerprints, composition statistics, and inputs of discriminators."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from pymatgen.core import Element

from matgl_ssl.errors import ConfigError


def _covalent_radius(element: Element) -> float | None:
    from pymatgen.analysis.local_env import CovalentRadius  # takes half a second, and few tables want it

    return CovalentRadius.radius.get(element.symbol)


_PROPERTIES: dict[str, Callable[[Element], float | None]] = {
    "one": lambda e: 1.0,
    "atomic-number": lambda e: e.Z,
    "electronegativity": lambda e: e.X,
    "covalent-radius": _covalent_radius,
    "atomic-radius": lambda e: e.atomic_radius,
    "mass": lambda e: float(e.atomic_mass),
    "group": lambda e: e.group,
    "period": lambda e: e.row,
    "mendeleev-number": lambda e: e.mendeleev_no,
    "ionization-energy": lambda e: e.ionization_energy,
    "electron-affinity": lambda e: e.electron_affinity,
    "density": lambda e: e.density_of_solid,
}
PROPERTIES = tuple(_PROPERTIES)
"""Electronegativity is Pauling's, the covalent radius Cordero's in Å, mass in u, energies in eV, the density that of
the solid in kg/m³; ``one`` counts. All values but Cordero's are pymatgen's."""

_LARGEST = 118
_COMMON = slice(1, 95)  # hydrogen to plutonium: means and deviations must not hang on elements nobody has


def _property(name: str) -> np.ndarray:
    if name not in _PROPERTIES:
        raise ConfigError(f"No elemental property {name!r}. Available: {', '.join(PROPERTIES)}.")
    values = np.full(_LARGEST + 1, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each electronegativity that it lacks
        for z in range(1, _LARGEST + 1):
            with contextlib.suppress(KeyError):
                value = _PROPERTIES[name](Element.from_Z(z))
                values[z] = np.nan if value is None else value
    return values


@lru_cache(maxsize=32)
def element_table(names: tuple[str, ...]) -> np.ndarray:
    """Properties of all elements.

    Args:
        names: Some of ``PROPERTIES``.

    Returns:
        Shape ``(119, len(names))``, indexed by atomic number; NaN where a value is not known (He, Ne and Ar have no
        electronegativity).
    """
    return np.stack([_property(name) for name in names], axis=1)


@lru_cache(maxsize=32)
def standardised_element_table(names: tuple[str, ...]) -> np.ndarray:
    """The same in standard deviations from the mean over hydrogen to plutonium; ``one`` stays 1.

    As weights of a sum over neighbours they say what the neighbours are like; unstandardised, all such sums would
    mostly count them.
    """
    table = element_table(names)
    mean, deviation = np.nanmean(table[_COMMON], axis=0), np.nanstd(table[_COMMON], axis=0)
    return np.where(deviation > 0, (table - mean) / np.where(deviation > 0, deviation, 1), table)
