"""The electrostatic energy of a crystal of point charges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Composition

from .primitive import PrimitiveCell
from .target import CellTarget


@lru_cache(maxsize=100_000)
def oxidation_states(formula: str, max_atoms: int) -> Mapping[str, float] | None:
    """Mean oxidation state of each element, pymatgen's most probable guess; None without a charged one.

    Args:
        formula: Reduced formula.
        max_atoms: Do not guess for longer formulas: the time grows exponentially.
    """
    try:
        guesses = Composition(formula).oxi_state_guesses(max_sites=-max_atoms)
    except ValueError:
        return None
    return guesses[0] if guesses and any(guesses[0].values()) else None


@dataclass(frozen=True)
class EwaldEnergy(CellTarget):
    """Electrostatic energy in eV per atom of oxidation states on the sites, a uniform one for each element.

    Oxidation states are guessed once for each reduced formula (pymatgen, ICSD statistics). Metals, elements and
    formulas that do not balance have no target (NaN): zero would be a claim.

    Attributes:
        max_atoms: Longest reduced formula to guess for.
    """

    name: ClassVar[str] = "ewald-energy"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 1

    max_atoms: int = 40

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(1,)``."""
        charges = oxidation_states(cell.formula, self.max_atoms)
        if charges is None:
            return np.array([np.nan])
        structure = cell.to_structure()
        structure.add_oxidation_state_by_element(dict(charges))
        return np.array([EwaldSummation(structure).total_energy / len(cell)])
