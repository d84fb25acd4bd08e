"""The cell that targets are computed in: primitive, reduced and as symmetric as the crystal is.

One crystal can be written down in many cells, with any origin, orientation and order of its atoms. Here all of them
lead to the same primitive cell, so that no target depends on the choice. Atoms are moved, by less than the tolerance,
to where symmetry puts them; the orbits of atoms and k-points are then exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from matgl_ssl.crystals.records import Crystal
from matgl_ssl.errors import BadStructureError

_TOLERANCE = 1e-3  # Å: by so much an atom may miss the place where an operation puts another


def _small(reach: int) -> np.ndarray:
    """All integer vectors with entries up to ``reach``, the zero vector left out."""
    vectors = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    return vectors[vectors.any(axis=1)]


_NEAR, _FAR = _small(1), _small(2)
_HALF = _NEAR[len(_NEAR) // 2 :]  # one of v and -v
_CELLS = np.rint(np.abs(np.linalg.det(_HALF[np.indices((13, 13, 13)).transpose(1, 2, 3, 0)])))
"""Lattice cells in what three of them span."""
_IDENTITY = np.eye(3, dtype=int)


@dataclass(frozen=True, eq=False)
class PrimitiveCell(Crystal):
    """A primitive cell with its symmetry.

    Attributes:
        rotations: Of each of G operations, which takes fractional coordinates ``x`` to ``x @ rotation + shift``, shape
            ``(G, 3, 3)``.
        images: The atom that each operation takes each atom to, shape ``(G, N)``.
    """

    rotations: np.ndarray = None  # type: ignore[assignment]
    images: np.ndarray = None  # type: ignore[assignment]


def primitive_cell(crystal: Crystal) -> tuple[PrimitiveCell, np.ndarray]:
    """The reduced primitive cell of a crystal, kept for the targets that follow.

    Returns:
        The cell, and the index in it of each of the crystal's atoms, shape ``(N,)``.

    Raises:
        BadStructureError: If the crystal has no atoms, no volume, or coordinates that are no numbers.
    """
    numbers, places, lattice = (
        np.ascontiguousarray(array, dtype).tobytes()
        for array, dtype in ((crystal.numbers, np.int64), (crystal.frac_coords, float), (crystal.lattice, float))
    )
    return _primitive_cell(numbers, places, lattice)


@lru_cache(maxsize=4)
def _primitive_cell(numbers_: bytes, places: bytes, lattice_: bytes) -> tuple[PrimitiveCell, np.ndarray]:
    numbers, given = np.frombuffer(numbers_, np.int64), np.frombuffer(lattice_).reshape(3, 3)
    coords = np.frombuffer(places).reshape(-1, 3)
    index = np.arange(len(numbers))
    if not (len(numbers) and np.isfinite(coords).all() and np.linalg.det(given)):
        raise BadStructureError("A crystal has no atoms, no volume, or coordinates that are no numbers.")
    lattice = shortest_basis(given)
    coords = coords @ (given @ np.linalg.inv(lattice))
    while np.gcd.reduce(np.unique(numbers, return_counts=True)[1]) > 1:
        operations = _operations(numbers, coords, lattice, translations=True)
        if len(operations.shifts) < 2:
            break
        first, smaller = np.unique(operations.images.min(axis=0), return_inverse=True)
        basis = _primitive_basis(operations.shifts, lattice)
        numbers, coords = numbers[first], operations.coords[first] @ (lattice @ np.linalg.inv(basis))
        lattice, index = basis, smaller[index]
    rotations, _, images, coords = _operations(numbers, coords, lattice, translations=False)
    metric = (rotations @ (lattice @ lattice.T) @ rotations.transpose(0, 2, 1)).mean(axis=0)
    cell = PrimitiveCell(numbers, coords % 1, np.linalg.cholesky(metric), rotations=rotations, images=images)
    return cell, index


def shortest_basis(lattice: np.ndarray) -> np.ndarray:
    """The shortest vectors that span a lattice, by length: a basis that is reduced in Minkowski's sense.

    Where several are equally short, which of them are returned depends on the basis that is given.

    Args:
        lattice: Lattice vectors, one a row.
    """
    basis = lattice[np.argsort(np.linalg.norm(lattice, axis=1))]
    while True:
        before = basis
        for i, j in ((1, 0), (2, 0), (2, 1)):  # strongly skewed cells at once
            basis = basis.copy()
            basis[i] -= np.rint(basis[i] @ basis[j] / (basis[j] @ basis[j])) * basis[j]
        vectors = _HALF @ basis
        order = np.argsort((vectors**2).sum(axis=1))
        third = int(np.argmax(_CELLS[order[0], order[1], order[2:]] == 1))
        basis = vectors[order[[0, 1, 2 + third]]]
        if not (basis**2).sum() < (1 - 1e-12) * (before**2).sum():
            return basis


def _primitive_basis(shifts: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """The shortest basis of a lattice with further translations, in units of the lattice, between its points."""
    vectors = (shifts[:, None] - np.rint(shifts)[:, None] + np.vstack([_NEAR, np.zeros(3)])).reshape(-1, 3) @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    volume = abs(np.linalg.det(lattice)) / len(shifts)
    vectors = vectors[np.argsort(lengths)][(lengths < 1e-6 * volume ** (1 / 3)).sum() :]
    across = np.linalg.norm(np.cross(vectors[0], vectors), axis=1)
    second = vectors[np.argmax(across > 1e-3 * volume ** (2 / 3))]
    third = vectors[np.argmax(np.abs(vectors @ np.cross(vectors[0], second)) > 0.5 * volume)]
    return shortest_basis(np.array([vectors[0], second, third]))


class _Operations(NamedTuple):
    """Symmetry operations, which take coordinates ``x`` to ``x @ rotation + shift``.

    Attributes:
        rotations: Shape ``(G, 3, 3)``, integers.
        shifts: Shape ``(G, 3)``.
        images: The atom that each operation takes each atom to, shape ``(G, N)``.
        coords: Where the atoms lie when the operations hold exactly, shape ``(N, 3)``.
    """

    rotations: np.ndarray
    shifts: np.ndarray
    images: np.ndarray
    coords: np.ndarray


def _operations(numbers: np.ndarray, coords: np.ndarray, lattice: np.ndarray, *, translations: bool) -> _Operations:
    """A crystal's translations alone, or its space group.

    Which operations are found depends on distances alone, not on the order of the atoms or the origin: a shift is a
    mean over all atoms. It is a multiple of 1/N when seen from the atoms' mean, so that the group is exact.
    """
    identity = _Operations(_IDENTITY[None], np.zeros((1, 3)), np.arange(len(numbers))[None], coords)
    counts = np.bincount(numbers)
    of_element = [np.flatnonzero(numbers == element) for element in np.flatnonzero(counts)]
    rare = min(of_element, key=len)
    reach = 4 * _TOLERANCE * np.sqrt((np.linalg.inv(lattice) ** 2).sum(axis=0).max())
    rotations, strains = (_IDENTITY[None], np.zeros(1)) if translations else _lattice_rotations(lattice)
    shifts = (coords[rare] - coords[rare[0]] @ rotations[:, None]).reshape(-1, 3)
    which = np.repeat(np.arange(len(rotations)), len(rare))
    if translations:  # as many times as there are cells in this one, they lead back
        cells = np.gcd.reduce(counts)
        found = (np.abs(cells * shifts - np.rint(cells * shifts)) < cells * reach).all(axis=1)
        which, shifts = which[found], shifts[found]
    for atoms in of_element:  # one of each element rules out most
        missed = (coords[atoms[-1]] @ rotations[which] + shifts)[:, None] - coords[atoms]
        found = (np.abs(missed - np.rint(missed)) < reach).all(axis=2).any(axis=1)
        which, shifts = which[found], shifts[found]
    if len(which) < 2:  # none where atoms lie in one place
        return identity
    images, offsets = _images(numbers, coords, coords @ rotations[which] + shifts[:, None], reach)
    mean = offsets.mean(axis=1)
    offsets -= mean[:, None]
    misfit = np.maximum(np.sqrt(((offsets @ lattice) ** 2).sum(axis=2).max(axis=1)), strains[which])
    misfit[(np.sort(images, axis=1) != np.arange(len(numbers))).any(axis=1)] = np.inf
    tolerance = _TOLERANCE
    while ((misfit >= tolerance / 2) & (misfit < tolerance)).any():  # two others then make an operation that is there
        tolerance /= 2
    kept = misfit < tolerance
    if kept.sum() < 2:
        return identity
    rotations = rotations[which[kept]]
    moved = coords + (offsets[kept] @ np.rint(np.linalg.inv(rotations))).mean(axis=0)
    return _Operations(rotations, (shifts + mean)[kept], images[kept], moved)


def _images(numbers: np.ndarray, coords: np.ndarray, moved: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The atom nearest to each point ``(G, N, 3)`` that an atom is taken to, and the way there from the point."""
    inside = np.column_stack([coords % 1 % 1, numbers])
    points = np.concatenate([moved, np.broadcast_to(numbers[:, None], (*moved.shape[:2], 1))], axis=2)
    _, images = cKDTree(inside, boxsize=[1, 1, 1, 0]).query(points, distance_upper_bound=2 * reach)
    images[(images == len(numbers)).any(axis=1)] = 0
    offsets = coords[images] - moved
    return images, offsets - np.rint(offsets)


def _lattice_rotations(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotations and reflections, ``(G, 3, 3)``, that take a reduced lattice to itself, and their misfit in Å."""
    size = abs(np.linalg.det(lattice)) ** (1 / 3)
    strained = 2 * _TOLERANCE / size
    vectors, metric = _FAR @ lattice, lattice @ lattice.T
    squares = (vectors**2).sum(axis=1)
    alike = [np.flatnonzero(np.abs(squares - square) < strained * square) for square in metric.diagonal()]

    def agrees(i: int, j: int) -> np.ndarray:
        slack = strained * np.sqrt(metric[i, i] * metric[j, j])
        return np.abs(vectors[alike[i]] @ vectors[alike[j]].T - metric[i, j]) < slack

    triples = np.argwhere(agrees(0, 1)[:, :, None] & agrees(0, 2)[:, None, :] & agrees(1, 2)[None])
    rotations = np.stack([_FAR[alike[axis][triples[:, axis]]] for axis in range(3)], axis=1)
    linear = np.linalg.inv(lattice) @ rotations @ lattice
    strain = np.sqrt(((linear @ linear.transpose(0, 2, 1) - np.eye(3)) ** 2).sum(axis=(1, 2)))
    return rotations, strain * size / 2
