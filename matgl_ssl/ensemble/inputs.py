"""What learners see of crystals: descriptors, vectors of encoders, graphs; each made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.targets import AtomStatistics, Descriptors, Estimates, Slab, Target, VibrationalSpectrum, with_targets
from matgl_ssl.training.pool import GraphPool

from .encoders import PretrainedEncoder

_MORE: dict[str, Target] = {"atoms": AtomStatistics(), "vibrations": VibrationalSpectrum(), "slab": Slab()}
_COMPUTED: dict[str, Target] = {"descriptors": Descriptors(), "estimates": Estimates(), **_MORE}


@dataclass(eq=False)
class _Known:
    """What was made of all crystals, shared by selections of them."""

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    pools: dict[str, GraphPool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Some of a table's crystals as learners see them.

    Attributes:
        crystals: All crystals of the table.
        encoders: The encoders by name.
        rows: Which of the crystals; all of them by default.
        num_workers: Processes that compute descriptors.
    """

    crystals: CrystalDataset
    encoders: Mapping[str, PretrainedEncoder] = field(default_factory=dict)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    num_workers: int = 0
    _known: _Known = field(default_factory=_Known, repr=False)

    @classmethod
    def of(
        cls, crystals: CrystalDataset, encoders: Mapping[str, PretrainedEncoder] | None = None, num_workers: int = 0
    ) -> Self:
        """All crystals of a table."""
        return cls(crystals, encoders or {}, np.arange(len(crystals)), num_workers)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int] | np.ndarray) -> Self:
        """Some of these."""
        return replace(self, rows=self.rows[rows])

    def masked(self, known: np.ndarray, quantities: Mapping[str, Mapping[str, slice]]) -> Self:
        """Each crystal once for each set of known quantities, crystal after crystal, for learners on descriptors.

        Args:
            known: Which quantities are known in each set, ``(sets, quantities)``; the numbers of others become NaN.
            quantities: Of each, which numbers of which column are its own.
        """
        columns = {name: np.repeat(self._column(name), len(known), 0) for name in _COMPUTED}
        for number, parts in enumerate(quantities.values()):
            unknown = np.tile(~known[:, number], len(self))
            for name, which in parts.items():
                columns[name][unknown, which] = np.nan
        return replace(self, rows=np.arange(len(self) * len(known)), _known=_Known(columns))

    @property
    def estimates(self) -> np.ndarray:
        """Textbook estimates, ``(n, 20)``."""
        return self._column("estimates")

    @property
    def descriptors(self) -> np.ndarray:
        """Descriptors and textbook estimates, ``(n, 62)``."""
        return np.concatenate([self._column("descriptors"), self.estimates], 1)

    @property
    def more_descriptors(self) -> np.ndarray:
        """These, how the atoms differ, deciles of vibrations, and what slabs are like, ``(n, 140)``."""
        return np.concatenate([self.descriptors, *(self._column(name) for name in _MORE)], 1)

    def vectors(self, encoder: str) -> np.ndarray:
        """Vectors of the crystals by an encoder, ``(n, d)``; NaN for those that it cannot be given."""
        return self._column(encoder)

    def pool(self, encoder: str) -> GraphPool:
        """Graphs of all crystals of the table for an encoder."""
        if encoder not in self._known.pools:
            self._known.pools[encoder] = GraphPool(self._unlabelled, self.encoders[encoder].encoder)
        return self._known.pools[encoder]

    @cached_property
    def _unlabelled(self) -> CrystalDataset:
        return self.crystals.select_labels([])

    def _column(self, name: str) -> np.ndarray:
        if name not in self._known.columns:
            wanted = dict(_COMPUTED)
            if name in self.encoders:
                wanted = {name: self.encoders[name].target}
            table = with_targets(self._unlabelled, [*wanted.values()], num_workers=self.num_workers)
            self._known.columns |= {key: np.stack([*table.column(target.column)]) for key, target in wanted.items()}
        return self._known.columns[name][self.rows]
