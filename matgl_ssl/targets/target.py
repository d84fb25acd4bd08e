"""The target contract: a number, or several, that a crystal alone determines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.records import Crystal

from .primitive import PrimitiveCell, primitive_cell


@dataclass(frozen=True)
class Target:
    """Something that is computed once from each crystal, in worker processes, and kept in a column of the table.

    Targets are frozen dataclasses: two equal targets are the same column. What cannot be computed is NaN, never zero.

    Attributes:
        name: What it is, in the field's terms.
        level: One row an ``"atom"``, or one a ``"crystal"``.
        parallel: Whether worker processes may compute it; False for targets that hold a model.
        version: Raised when the same fields give other numbers, so that nothing stale is read from the cache.
    """

    name: ClassVar[str]
    level: ClassVar[Literal["atom", "crystal"]]
    parallel: ClassVar[bool] = True
    version: ClassVar[int] = 1

    @property
    def column(self) -> str:
        """The column it is kept in, and the label it becomes: level, name, version and a hash of its fields.

        The fields themselves are in the metadata of the cached file's column and in encoders' stamps.
        """
        return f"{self.level}:{self.name}/v{self.version}-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}"

    @property
    def size(self) -> int:
        """Numbers in a row: k."""
        raise NotImplementedError

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it.

        Returns:
            Shape ``(N, k)`` for an atom's target, ``(k,)`` for a crystal's.
        """
        raise NotImplementedError

    def of_many(self, crystals: Sequence[Crystal]) -> list[np.ndarray]:
        """Compute it for several crystals; override where a batch is cheaper than its crystals."""
        return [self(crystal) for crystal in crystals]


class CellTarget(Target):
    """A target computed in the primitive cell, so that it does not depend on the cell that a crystal is given in.

    Subclasses implement ``of_cell``; targets that are asked for in turn share the cell and what is cached of it.
    """

    version: ClassVar[int] = 2

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute it, ``(N, k)`` or ``(k,)``; see ``of_cell``."""
        cell, atoms = primitive_cell(crystal)
        values = self.of_cell(cell)
        return values[atoms] if self.level == "atom" else values

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it for a reduced and symmetrised primitive cell, ``(N, k)`` or ``(k,)``."""
        raise NotImplementedError
