"""Remarks about crystals that are read nonetheless: each is reported once, with a count and the first crystal."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pymatgen.core import Structure

from matgl_ssl.crystals.records import DOUBT, Crystal

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"\d+(\.\d+)?")
_MOST = 20
"""Kinds of remarks that are told apart: texts of strangers' files may all differ."""


class Notes:
    """What is remarked on the way: what a record cannot keep, and what libraries warn of.

    Remarks that differ in numbers only are one.
    """

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._first: dict[str, tuple[str, str]] = {}
        self._counts: Counter[str] = Counter()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the warnings that are raised meanwhile, whatever the filters say."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: self._pending.append(str(message))
            yield

    def about(self, crystal: Crystal, structure: Crystal | Structure | Atoms) -> None:
        """Count what was warned of since the last crystal, and what is left behind of this one or doubted."""
        id_, doubt = crystal.id, crystal.labels.get(DOUBT)
        lost = [] if isinstance(structure, Crystal) else left_behind(structure)
        remarks = [*self._pending, *(f"{what} are left behind" for what in lost), *([doubt] if doubt else [])]
        self._pending.clear()
        for remark in dict.fromkeys(remarks):
            kind = _NUMBER.sub("#", remark)
            kind = kind if kind in self._first or len(self._first) < _MOST else "other remarks"
            self._first.setdefault(kind, (id_, remark))
            self._counts[kind] += 1

    def tell(self, source: str) -> None:
        """Log each of them."""
        for kind, (id_, remark) in self._first.items():
            n = self._counts[kind]
            whom = id_ if n == 1 else f"{n} crystals, {id_} first"
            logger.warning("%s: %s (%s).", source, " ".join(remark.split())[:300].rstrip("."), whom)


def left_behind(structure: Structure | Atoms) -> list[str]:
    """What a structure carries that a record has no place for."""
    return _of_structure(structure) if isinstance(structure, Structure) else _of_atoms(structure)


_PROPERTIES = {
    "magmom": "magnetic moments", "selective_dynamics": "selective dynamics", "velocities": "velocities",
    "charge": "charges",
}  # fmt: skip


def _of_structure(structure: Structure) -> list[str]:
    species = {specie for composition in structure.species_and_occu for specie in composition}
    found = [
        (any(getattr(specie, "oxi_state", None) for specie in species), "oxidation states"),
        (any(getattr(specie, "spin", None) for specie in species), "spins"),
        (any(getattr(specie, "value", None) in ("D", "T") for specie in species), "isotopes"),
        (any(abs(site.species.num_atoms - 1) > 1e-6 for site in structure), "occupancies that almost are 1"),
        (bool(structure.charge) and not any(getattr(s, "oxi_state", None) for s in species), "the cell's charge"),
    ]
    values = {name: value for site in structure[:1] for name, value in site.properties.items() if value is not None}
    return [what for has, what in found if has] + [_PROPERTIES.get(name, f"site properties {name}") for name in values]


def _of_atoms(atoms: Atoms) -> list[str]:
    known = {"numbers", "positions"}
    names = {"initial_magmoms": "magnetic moments", "initial_charges": "charges", "momenta": "velocities"}
    arrays = [names.get(name, f"arrays {name}") for name in atoms.arrays if name not in known]
    return arrays + (["constraints"] if atoms.constraints else [])
