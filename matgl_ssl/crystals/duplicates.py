"""Duplicates: one crystal in another cell, with another origin, or under another name.

Numbers that do not depend on how a crystal is written down tell most crystals apart: the reduced formula, a few mean
distances, and then the distances around each atom. Pymatgen's StructureMatcher decides about those that agree in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres
from scipy.spatial import cKDTree

from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.work import parallel

TOLERANCE = 0.01
"""Å: two crystals are one if no atom is further than this from its place in the other, and no bond strained by more."""
_CUTOFF, _RANKS = 6.0, 12
_REACH = 3
"""By how many tolerances distances may differ: twice what an atom moves by, and the strain."""
_BATCH = 512
N_DISTANCES = 8


def formula_key(crystal: Crystal) -> int:
    """A hash of the reduced formula, 63 bits."""
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    formula = np.concatenate([numbers, counts // np.gcd.reduce(counts)]).astype(np.int64)
    return int.from_bytes(hashlib.blake2b(formula.tobytes(), digest_size=8).digest(), "big") >> 1


def mean_distances(crystal: Crystal) -> np.ndarray:
    """Distances in Å that are the same in every cell of a crystal; when atoms move by d, they change by 2 d at most.

    They are the side of a cube with an atom's volume; the means over atoms of the distances of the first, fourth and
    twelfth neighbour (Widdowson et al., MATCH 2022, 87, 529), of the nearest like and the nearest unlike atom; and of
    the fourth and the unlike one once more, atoms weighted by their atomic numbers. None is longer than 6 Å.

    Returns:
        Shape ``(8,)``, float32.
    """
    table = _neighbour_distances(crystal)
    first, fourth, twelfth, like, unlike = table[:, [0, 3, 11, 12, 13]].T
    weights = crystal.numbers / crystal.numbers.mean()
    means = [row.mean() for row in (first, fourth, twelfth, like, unlike, weights * fourth, weights * unlike)]
    return np.array([(crystal.volume / len(crystal)) ** (1 / 3), *means], dtype=np.float32)


def _neighbour_distances(crystal: Crystal) -> np.ndarray:
    """Of each atom the distances to twelve neighbours, the nearest like and the nearest unlike atom, ``(N, 14)``, Å."""
    coords, lattice = np.ascontiguousarray(crystal.cart_coords), np.ascontiguousarray(crystal.lattice)
    periodic = np.ones(3, dtype=np.int64)
    atom, other, _, distance = find_points_in_spheres(coords, coords, r=_CUTOFF, pbc=periodic, lattice=lattice)
    order = np.lexsort((distance, atom))
    order = order[(atom != other)[order] | (distance[order] > 1e-8)]
    atom, distance = atom[order], distance[order]
    alike = crystal.numbers[atom] == crystal.numbers[other[order]]
    rank = np.arange(len(atom)) - np.searchsorted(atom, atom)
    table = np.full((len(crystal), _RANKS + 2), _CUTOFF)
    near = rank < _RANKS
    table[atom[near], rank[near]] = distance[near]
    for column, chosen in ((_RANKS, alike), (_RANKS + 1, ~alike)):
        np.minimum.at(table[:, column], atom[chosen], distance[chosen])
    return table


def find_duplicates(
    *tables: CrystalDataset, tolerance: float = TOLERANCE, n_jobs: int = 1, cluster: str | None = None
) -> np.ndarray:
    """Find crystals that are there already.

    Mirror images count as one crystal. Labels are not looked at.

    Args:
        *tables: Crystals that passed ``check_dataset``, numbered through from the first table to the last.
        tolerance: How far in Å atoms of one crystal may be apart in the two.
        n_jobs: Processes that share the work.
        cluster: Address of a Dask scheduler whose workers share it instead.

    Returns:
        The number of the first such crystal for each that repeats it, -1 for all others; shape ``(n,)``, int64.
    """
    pieces = (
        table.rows(range(i, min(i + _BATCH, len(table)))) for table in tables for i in range(0, len(table), _BATCH)
    )
    total = sum(-(-len(table) // _BATCH) for table in tables)
    shared: dict[str, Any] = {"n_jobs": n_jobs, "cluster": cluster}
    found = list(parallel(invariants, pieces, what="comparing crystals", total=total, **shared))
    keys, distances = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else no_invariants()
    return match(tables, keys, distances, tolerance=tolerance, **shared)


def invariants(crystals: Sequence[Crystal]) -> tuple[np.ndarray, np.ndarray]:
    """``formula_key`` ``(n,)`` and ``mean_distances`` ``(n, 8)`` of several crystals."""
    if not crystals:
        return no_invariants()
    return np.array([formula_key(c) for c in crystals]), np.stack([mean_distances(c) for c in crystals])


def no_invariants() -> tuple[np.ndarray, np.ndarray]:
    """Those of no crystals."""
    return np.zeros(0, dtype=np.int64), np.zeros((0, N_DISTANCES), dtype=np.float32)


def match(
    tables: Sequence[CrystalDataset],
    keys: np.ndarray,
    distances: np.ndarray,
    *,
    tolerance: float = TOLERANCE,
    n_jobs: int = 1,
    cluster: str | None = None,
) -> np.ndarray:
    """``find_duplicates`` for crystals whose invariants are known."""
    first = np.full(len(keys), -1, dtype=np.int64)
    batches = list(_batches(_groups(keys, distances, _REACH * tolerance)))
    starts = np.cumsum([0, *map(len, tables)])
    items = ((_rows(tables, starts, rows), distances[rows]) for rows in batches)
    compared = parallel(
        partial(_compare, tolerance=tolerance), items,
        n_jobs=n_jobs, cluster=cluster, what="looking for duplicates", total=len(batches),
    )  # fmt: skip
    for rows, firsts in zip(batches, compared, strict=True):
        first[rows[firsts >= 0]] = rows[firsts[firsts >= 0]]
    return first


def _groups(keys: np.ndarray, distances: np.ndarray, reach: float) -> Iterator[np.ndarray]:
    """Rows that may be duplicates of each other: sorted by a distance, one within reach follows the other."""
    group = keys
    for column in distances.T:
        order = np.lexsort((column, group))
        ends = (np.diff(group[order]) != 0) | (np.diff(column[order]) > reach)
        group = np.empty(len(keys), dtype=np.int64)
        group[order] = np.concatenate([[0], np.cumsum(ends)])[: len(order)]
    order = np.argsort(group, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(group))])
    for i in np.flatnonzero(np.diff(bounds) > 1):
        yield order[bounds[i] : bounds[i + 1]]


def _batches(groups: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Groups together, so that no process is asked for little."""
    batch: list[np.ndarray] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= _BATCH:
            yield np.sort(np.concatenate(batch))
            batch = []
    if batch:
        yield np.sort(np.concatenate(batch))


def _rows(tables: Sequence[CrystalDataset], starts: np.ndarray, rows: np.ndarray) -> list[Crystal]:
    bounds = np.searchsorted(rows, starts)
    parts = zip(tables, starts, pairwise(bounds), strict=False)
    return [crystal for table, start, (i, j) in parts for crystal in table.rows(rows[i:j] - start)]


def _compare(item: tuple[list[Crystal], np.ndarray], *, tolerance: float) -> np.ndarray:
    """The first of the crystals, ascending, that each repeats, or -1."""
    crystals, distances = item
    keys, first = [formula_key(crystal) for crystal in crystals], np.full(len(crystals), -1)
    spread = lru_cache(maxsize=None)(lambda i: _spread(crystals[i]))
    reduced = lru_cache(maxsize=None)(lambda i: _reduced(crystals[i], tolerance))
    tree = cKDTree(distances)
    for i in range(len(crystals)):
        if first[i] >= 0:
            continue
        for j in sorted(tree.query_ball_point(distances[i], _REACH * tolerance, p=np.inf)):
            if j <= i or first[j] >= 0 or keys[i] != keys[j] or _furthest(spread(i), spread(j)) > _REACH * tolerance:
                continue
            if _match(reduced(i), reduced(j), tolerance):
                first[j] = i
    return first


def _spread(crystal: Crystal) -> np.ndarray:
    """Each column of ``_neighbour_distances`` sorted, element by element: no order of the atoms is left in it."""
    table = _neighbour_distances(crystal)
    return np.concatenate([np.sort(table[crystal.numbers == z], axis=0) for z in np.unique(crystal.numbers)])


def _furthest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two such tables, each repeated to the size of a cell that is a multiple of both."""
    size = int(np.lcm(len(a), len(b)))
    return float(np.abs(np.repeat(a, size // len(a), axis=0) - np.repeat(b, size // len(b), axis=0)).max())


def _match(a: Structure, b: Structure, tolerance: float) -> bool:
    strain = tolerance / (a.volume / len(a)) ** (1 / 3)
    matcher = StructureMatcher(
        ltol=strain, stol=strain, angle_tol=np.degrees(strain), primitive_cell=False, scale=False
    )
    return bool(matcher.fit(a, b, skip_structure_reduction=True))


def _reduced(crystal: Crystal, tolerance: float) -> Structure:
    """The primitive cell, once for all pairs; with pymatgen's own tolerance small distortions were averaged out."""
    structure = crystal.to_structure().get_reduced_structure(reduction_algo="niggli")
    return structure.get_primitive_structure(tolerance=tolerance)
