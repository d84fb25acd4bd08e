"""A stand-in for ``pymatgen.core.Structure`` with just what MatGL's ``Structure2Graph`` reads.

Building a ``Structure`` of 25 sites costs several times what the neighbour list costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Element

if TYPE_CHECKING:
    from matgl_ssl.crystals.records import Crystal


@cache
def _site(number: int) -> SimpleNamespace:
    return SimpleNamespace(specie=Element.from_Z(number))


class StructureLike:
    """Looks like a ``Structure`` to MatGL's converters."""

    def __init__(self, crystal: Crystal) -> None:
        self.lattice = SimpleNamespace(matrix=np.ascontiguousarray(crystal.lattice))
        self.frac_coords = crystal.frac_coords
        self.cart_coords = np.ascontiguousarray(crystal.cart_coords)
        self._numbers = crystal.numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return map(_site, self._numbers.tolist())
