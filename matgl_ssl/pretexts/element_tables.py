"""Micro-properties of the elements, one number each."""

from __future__ import annotations

from pymatgen.core import Element

ATOMIC_STIFFNESS = {
    "Li": 1.76, "Be": 6.02, "B": 9.58, "C": 15.55, "N": 16.32, "O": 7.52, "F": 4.11, "Na": 1.82, "Mg": 5.26,
    "Al": 8.54, "Si": 10.61, "P": 10.45, "S": 5.04, "Cl": 5.36, "K": 1.82, "Ca": 4.44, "Sc": 8.03, "Ti": 12.26,
    "V": 14.99, "Cr": 19.21, "Mn": 19.71, "Fe": 13.03, "Co": 14.47, "Ni": 13.33, "Cu": 10.76, "Zn": 7.29, "Ga": 6.3,
    "Ge": 8.82, "As": 7.16, "Se": 4.15, "Br": 2.64, "Rb": 1.69, "Sr": 3.75, "Y": 8.42, "Zr": 13.81, "Nb": 19.91,
    "Mo": 26.02, "Tc": 27.36, "Ru": 26.86, "Rh": 22.45, "Pd": 17.64, "Ag": 9.9, "Cd": 6.54, "In": 6.7, "Sn": 8.8,
    "Sb": 8.93, "Te": 6.81, "I": 3.88, "Cs": 1.43, "Ba": 3.58, "Hf": 15.18, "Ta": 22.23, "W": 30.76, "Re": 34.36,
    "Os": 36.07, "Ir": 31.48, "Pt": 24.27, "Au": 15.54, "Hg": 9.85, "Tl": 6.06, "Pb": 8.49, "Bi": 8.96,
}  # fmt: skip
"""Atomic stiffness k in eV of 62 elements: bulk modulus times volume per atom of the elemental solid.

The values that DSSL trains on (usccolumbia/DSSL, ``matdeeplearn/process/atomic_stiffness_default.npy``, MIT licence);
K = 160.21766 GPa k / V with V in Å³ per atom holds within some per cent, see the tests. The name, and by it the origin,
is that of Jin, Yuan & Gao, Nat. Commun. 14, 4258 (2023). None for H, the noble gases, the lanthanides, Po and Z >= 84.
"""

N_VALENCE = 17
"""Classes of ``valence_electrons``: 1 to 17."""


def atomic_stiffness(symbol: str) -> float | None:
    """Atomic stiffness in eV; None where the table has no value."""
    return ATOMIC_STIFFNESS.get(symbol)


def valence_electrons(symbol: str) -> int:
    """Valence electrons as DSSL counts them (``ve_dict_default.npy``), 1 to 17.

    The group number in the s and d blocks, ten less in the p block, two for He; in the f block, which its row fills
    after the second group, 3 for La and Ac and one more for each element.
    """
    element = Element(symbol)
    if element.is_lanthanoid or element.is_actinoid:
        return int(element.Z) - (54 if element.is_lanthanoid else 86)
    if symbol == "He":
        return 2
    return int(element.group) - (10 if element.block == "p" else 0)
