"""Work: from one frame to the next of the same atoms, the energy changes by what forces and stresses do on the way.

Between two frames ``dE = -F dx + V stress : strain``, with forces and stresses averaged over both ends, which is exact
for harmonic crystals. So energies, forces and stresses check each other: only the right units and signs explain it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from matgl_ssl.crystals.physics.frames import Frame
from matgl_ssl.crystals.physics.identify import Reading, readings

_MEMBERS = 100  # frames of one family that are compared
_NEIGHBOURS = 3
_FARTHEST = (0.3, 0.1)  # displacement (Å, root mean square) and strain from which on two frames are no neighbours
_STILL = (1e-3, 1e-5)  # and up to which nothing was displaced or strained
_ENOUGH = 6
_EXPLAINED = 0.5  # share of the squares of the differences of energy
_AS_GOOD = 1.5  # another reading is as good that leaves up to so many times the squares of the best


@dataclass(frozen=True)
class Work:
    """What differences of energy say of units and signs.

    Attributes:
        readings: Those that explain the differences alike, the simplest that do: Ha with Ha/Bohr is Ry with Ry/Bohr.
        needed: Whether the differences cannot be explained without the forces, and without the stresses.
        error: Root mean square of what is left of the differences, as a share of them.
        n_pairs: Pairs of frames.
    """

    readings: tuple[Reading, ...]
    needed: tuple[bool, bool]
    error: float
    n_pairs: int


def work(frames: Sequence[Frame]) -> Work | None:
    """Compare differences of energy with the work of forces and stresses.

    Returns:
        How the labels are to be read; None where too few frames are neighbours, or where no reading explains them.
    """
    rows = np.array([row for family in _families(frames) for row in _pairs(family)]).reshape(-1, 4)
    if len(rows) < _ENOUGH:
        return None
    n, energy, forces, stress = rows.T
    has = (bool(forces.any()), bool(stress.any()))
    whole = {per_atom: energy * (n if per_atom else 1) for per_atom in (False, True)}
    share = {
        r: _squares((whole[r.per_atom] - r.forces * forces - r.stress * stress) / n) / _squares(whole[r.per_atom] / n)
        for r in readings(*has)
    }
    best = min(share.values())
    if not best < 1 - _EXPLAINED:
        return None
    simplest = min((r for r in share if share[r] <= _AS_GOOD * best), key=lambda r: (r.cost, share[r]))
    alike = tuple(r for r in share if r.cost == simplest.cost and abs(share[r] - share[simplest]) < 1e-6)
    seen = whole[simplest.per_atom]
    without = [_squares((seen - other) / n) for other in (simplest.stress * stress, simplest.forces * forces)]
    needed = [squares > _AS_GOOD * share[simplest] * _squares(seen / n) for squares in without]
    return Work(alike, (has[0] and needed[0], has[1] and needed[1]), float(np.sqrt(share[simplest])), len(rows))


def _squares(rest: np.ndarray) -> float:
    """Mean square without the largest fifth: atoms that hop, and frames that were computed otherwise."""
    squares = np.sort(rest**2)
    return float(squares[: max(1, int(0.8 * len(squares)))].mean())


def _families(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Frames of the same atoms in the same order."""
    families: dict[bytes, list[Frame]] = defaultdict(list)
    for frame in frames:
        if np.isfinite(frame.energy):
            families[frame.crystal.numbers.tobytes()].append(frame)
    for family in families.values():
        step = -(-len(family) // _MEMBERS)
        if len(family) > 1:
            yield family[::step]


def _pairs(family: list[Frame]) -> Iterator[tuple[float, float, float, float]]:
    """Atoms, difference of energies, and work of forces and of stresses, from each frame to its neighbours."""
    cells = np.stack([frame.crystal.lattice for frame in family])
    coords = np.stack([frame.crystal.frac_coords for frame in family])
    moved = coords - coords[:1]
    moved = (moved - np.round(moved)) @ cells.mean(0)
    n = coords.shape[1]
    place = np.concatenate([moved.reshape(len(family), -1) / np.sqrt(n), cells.reshape(len(family), -1)], 1)
    squares = (place**2).sum(1)
    distance = squares[:, None] + squares - 2 * place @ place.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, 1)[:, :_NEIGHBOURS]
    for i, j in {(min(i, int(j)), max(i, int(j))) for i, others in enumerate(nearest) for j in others}:
        if i != j and (found := _between(family[i], family[j])):
            yield (float(n), *found)


def _between(a: Frame, b: Frame) -> tuple[float, float, float] | None:
    """Difference of energy and both works; None where they are not neighbours, or lack what the way needs."""
    shift = b.crystal.frac_coords - a.crystal.frac_coords
    shift -= np.round(shift)
    cell = (a.crystal.lattice + b.crystal.lattice) / 2
    displacement = shift @ cell
    displacement -= displacement.mean(0)
    if abs(np.linalg.det(cell)) < 1e-3:
        return None
    deformation = np.linalg.solve(cell, b.crystal.lattice - a.crystal.lattice)
    size, strain = np.sqrt((displacement**2).sum(1).mean()), np.abs(deformation).max()
    if size > _FARTHEST[0] or strain > _FARTHEST[1] or (size < _STILL[0] and strain < _STILL[1]):
        return None
    by_forces = by_stress = 0.0
    if a.forces is not None and b.forces is not None:
        by_forces = -float(((a.forces + b.forces) / 2 * displacement).sum())
    elif size > _STILL[0]:
        return None
    if a.stress is not None and b.stress is not None:
        virial = (a.crystal.volume * a.stress + b.crystal.volume * b.stress) / 2
        by_stress = float((virial * (deformation + deformation.T) / 2).sum())
    elif strain > _STILL[1]:
        return None
    return b.energy - a.energy, by_forces, by_stress
