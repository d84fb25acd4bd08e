"""The target contract: a number, or several, that a crystal alone determines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.records import Crystal


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
        """The column it is kept in, and the label it becomes: ``atom:...`` or ``crystal:...``."""
        return f"{self.level}:{self.name}/v{self.version} {self!r}"

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
