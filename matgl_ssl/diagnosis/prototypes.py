"""Prototypes: what a crystal is when its elements and sizes are taken away, as AFLOW labels it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pymatgen.analysis.prototypes import get_protostructure_label_from_spglib, get_prototype_from_protostructure

from matgl_ssl.crystals import Crystal

LARGEST = 200
"""Atoms of a cell above which its symmetry is not looked for."""


def prototypes(crystals: Sequence[Crystal]) -> list[str | None]:
    """AFLOW labels without elements: anonymous formula, Pearson symbol, space group and Wyckoff letters.

    Rock salt is ``AB_cF8_225_a_b`` (Mehl et al., Comput. Mater. Sci. 2017, 136, S1; letters that do not depend on the
    origin as in Goodall et al., Sci. Adv. 2022, 8, eabn4117). None where no symmetry is found.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib on crystals without symmetry
        return [_prototype(crystal) for crystal in crystals]


def _prototype(crystal: Crystal) -> str | None:
    if len(crystal) > LARGEST:
        return None
    try:
        label = get_protostructure_label_from_spglib(crystal.to_structure())
        return str(get_prototype_from_protostructure(label)) if label else None
    except Exception:  # pymatgen raises several kinds where symmetry is not found
        return None
