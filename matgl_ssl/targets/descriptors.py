"""Numbers of a crystal that learners without a graph take: descriptors, and what textbooks' rules estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl._files import digest
from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import PROPERTIES

from .bonds import AtomBonds, CrystalBonds
from .composition_statistics import CompositionStatistics
from .coordination import Coordination
from .density import Density
from .primitive import primitive_cell
from .space_group import N_SPACE_GROUPS, SpaceGroup
from .target import Target
from .tight_binding import AtomTightBinding, CrystalTightBinding
from .vibrations import AtomVibrations, CrystalVibrations

_COMPOSITION = CompositionStatistics(tuple(name for name in PROPERTIES if name != "one"))
_DENSITY, _SYMMETRY, _COORDINATION = Density(), SpaceGroup(), Coordination()
_TEXTBOOK = (CrystalBonds(), CrystalVibrations(), CrystalTightBinding())


@dataclass(frozen=True)
class _Joined(Target):
    """Numbers of several targets; another version of any of them is another column."""

    level: ClassVar[Literal["atom", "crystal"]] = "crystal"
    parts: ClassVar[tuple[Target, ...]]

    @property
    def column(self) -> str:
        """The column it is kept in."""
        return f"{super().column}-{digest([part.column for part in self.parts], 8)}"


@dataclass(frozen=True)
class Descriptors(_Joined):
    """Composition statistics as in magpie, density, symmetry, coordination, size of the primitive cell: ``(42,)``.

    They do not depend on the cell that a crystal is described in. What cannot be computed is NaN.
    """

    name: ClassVar[str] = "descriptors"
    parts: ClassVar[tuple[Target, ...]] = (_COMPOSITION, _DENSITY, _SYMMETRY, _COORDINATION)

    @property
    def size(self) -> int:
        """Numbers of a crystal."""
        return _COMPOSITION.size + _DENSITY.size + _SYMMETRY.size + 2 * _COORDINATION.size + 1

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute them, ``(42,)``."""
        around = _COORDINATION(crystal)
        known = around[np.isfinite(around).all(1)]
        coordination = np.concatenate([known.mean(0), known.std(0)]) if len(known) else np.full(4, np.nan)
        group = _SYMMETRY(crystal) / N_SPACE_GROUPS
        size = len(primitive_cell(crystal)[0])
        return np.concatenate([_COMPOSITION(crystal), _DENSITY(crystal), group, coordination, [size]])


@dataclass(frozen=True)
class Estimates(_Joined):
    """What textbooks' rules say of a crystal's bonds, vibrations and bands: ``(20,)``."""

    name: ClassVar[str] = "estimates"
    parts: ClassVar[tuple[Target, ...]] = _TEXTBOOK

    @property
    def size(self) -> int:
        """Numbers of a crystal."""
        return sum(part.size for part in self.parts)

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute them, ``(20,)``."""
        return np.concatenate([part(crystal) for part in self.parts])


@dataclass(frozen=True)
class AtomStatistics(_Joined):
    """How the atoms of a crystal differ in what textbooks' rules say of each: ``(56,)``.

    Minimum, maximum, mean and standard deviation over the atoms of their bonds, vibrations, bands and coordination,
    whose means and totals alone are in ``Estimates`` and ``Descriptors``.
    """

    name: ClassVar[str] = "atom-statistics"
    parts: ClassVar[tuple[Target, ...]] = (AtomBonds(), AtomVibrations(), AtomTightBinding(), _COORDINATION)

    @property
    def size(self) -> int:
        """Numbers of a crystal."""
        return 4 * sum(part.size for part in self.parts)

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Compute them, ``(56,)``; NaN what is unknown of each atom."""
        return np.concatenate([_statistics(part(crystal)) for part in self.parts])


def _statistics(atoms: np.ndarray) -> np.ndarray:
    known = atoms[np.isfinite(atoms).all(1)]
    if not len(known):
        return np.full(4 * atoms.shape[1], np.nan)
    return np.concatenate([known.min(0), known.max(0), known.mean(0), known.std(0)])


def descriptors_and_targets(crystal: Crystal) -> np.ndarray:
    """Both, ``(62,)``."""
    return np.concatenate([Descriptors()(crystal), Estimates()(crystal)])
