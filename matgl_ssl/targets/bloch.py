"""Eigenvalues of matrices between a crystal's atoms, at k-points: of real ones and of halves where symmetry allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .brillouin import irreducible_mesh
from .neighbours import Neighbours
from .primitive import PrimitiveCell

LARGEST = 80
"""Atoms of the largest primitive cell whose matrices are worth diagonalising, which takes time with their cube."""

_SMALL = 48  # orbitals whose matrix takes longer to be made simpler than to be diagonalised


class Coupling(NamedTuple):
    """What couples the orbitals of a crystal's atoms, b of them at most on each.

    Attributes:
        pairs: Neighbours; of two directions one is enough, whose centre is not before the other.
        blocks: Between the orbitals of a centre and those of its neighbour, shape ``(P, b, b)``.
        own: Between those of one atom, ``(N, b, b)``.
        has: The orbitals that an atom has, ``(N, b)``.
        parity: Whether inversion leaves (1) or turns round (-1) an orbital, ``(b,)``.
    """

    pairs: Neighbours
    blocks: np.ndarray
    own: np.ndarray
    has: np.ndarray
    parity: np.ndarray


class _States(NamedTuple):
    """Eigenvectors at some k-points, whose levels lie in some columns; a component may stand for its image, too."""

    ks: np.ndarray
    columns: slice
    orbitals: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues on the mesh.

    Attributes:
        levels: Shape ``(K, M)``, in no order.
        weights: Of the k-points, ``(K,)``; their sum is 1.
        atom: Of each orbital, ``(M,)``.
        images: Where the crystal's operations take its atoms, ``(G, N)``.
        states: Eigenvectors, if they were asked for.
    """

    levels: np.ndarray
    weights: np.ndarray
    atom: np.ndarray
    images: np.ndarray
    states: list[_States]

    def of_atoms(self, values: np.ndarray) -> np.ndarray:
        """Each atom's part in the sums of some values ``(K, M, v)`` over all states: ``(N, v)``."""
        values = values * self.weights[:, None, None]
        parts = np.zeros(values.shape[1:])
        for ks, columns, orbitals, vectors in self.states:
            square = vectors.real**2 + vectors.imag**2 if np.iscomplexobj(vectors) else vectors**2
            parts[orbitals] += (square @ values[ks, columns]).sum(axis=0)
        starts = np.searchsorted(self.atom, np.arange(self.images.shape[1]))
        return np.asarray(np.add.reduceat(parts, starts, axis=0)[self.images].mean(axis=0))  # all points of a star


def diagonalise(cell: PrimitiveCell, coupling: Coupling, *, vectors: bool = False) -> Spectrum:
    """Eigenvalues of a coupling's Bloch sums on the cell's mesh of k-points."""
    points, weights = irreducible_mesh(cell)
    atom = np.nonzero(coupling.has)[0]
    levels, states = np.empty((len(points), len(atom))), []
    done = np.zeros(len(points), int)
    for ks, matrices, orbitals in _matrices(cell, coupling, points):
        columns = slice(done[ks[0]], done[ks[0]] + len(orbitals))
        done[ks] += len(orbitals)
        if vectors:
            levels[ks, columns], found = np.linalg.eigh(matrices)
            states.append(_States(ks, columns, orbitals, found))
        else:
            levels[ks, columns] = np.linalg.eigvalsh(matrices)
    return Spectrum(levels, weights, atom, cell.images, states)


def _matrices(
    cell: PrimitiveCell, coupling: Coupling, points: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What is to be diagonalised at some k-points, ``(K, M, M)``, and the orbitals ``(M,)`` that it is between.

    In a crystal with inversion, ``conj(H) = J H J``, if atoms' phases are those of their places: J exchanges each atom
    with its image and turns odd orbitals round. H has the eigenvalues of ``Re H + J Im H`` then, which is real:
    ``(1 + iJ) / sqrt(2)`` leads from one to the other. Where k and -k are one, H is real without it, if phases are
    those of cells, and commutes with an exchange that has phases, too: even and odd states are two halves of it.
    """
    atom, orbital = np.nonzero(coupling.has)
    every = np.arange(len(atom))
    inversions = np.flatnonzero((cell.rotations == -np.eye(3)).all(axis=(1, 2)))
    inverts = len(inversions) == 1 and len(atom) >= _SMALL
    if inverts:
        partner, first = cell.images[inversions[0]], np.searchsorted(atom, np.arange(len(cell)))
        to, sign = first[partner[atom]] + every - first[atom], coupling.parity[orbital]
        centre = cell.frac_coords + cell.frac_coords[partner]
        cells = np.rint(centre - centre[0])[atom]
    one = ~(2 * points % 1).any(axis=1)  # k and -k
    if len(ks := np.flatnonzero(~one)):
        matrices = _bloch_sums(cell, coupling, points[ks], by_place=True)
        yield ks, matrices.real + sign[:, None] * matrices.imag[:, to] if inverts else matrices, every
    if len(ks := np.flatnonzero(one)):
        matrices = _bloch_sums(cell, coupling, points[ks], by_place=False)
        if not (inverts and len(atom) >= 2 * _SMALL):
            yield ks, matrices, every
            return
        for k, matrix in zip(ks, matrices, strict=True):
            exchanged = sign * (1 - 2 * (cells @ (2 * points[k]) % 2))
            for parity in (exchanged, -exchanged):
                own = to == every
                rows = np.flatnonzero((to > every) | (own & (parity > 0)))
                norm = np.where(own, np.sqrt(2), 1)[rows]
                half = matrix[rows[:, None], rows] + parity[rows] * matrix[rows[:, None], to[rows]]
                yield np.array([k]), (half / np.outer(norm, norm))[None], rows


def _bloch_sums(cell: PrimitiveCell, coupling: Coupling, points: np.ndarray, *, by_place: bool) -> np.ndarray:
    """Sums at k-points, ``(K, M, M)``, with the phases of atoms' places or of their cells."""
    pairs, (n, b) = coupling.pairs, coupling.has.shape
    place = n * pairs.center + pairs.other
    order = np.argsort(place, kind="stable")
    order = order[pairs.center[order] >= pairs.other[order]]
    places, starts = np.unique(place[order], return_index=True)
    i, j, steps = places // n, places % n, pairs.image[order]
    if by_place:
        steps = steps + cell.frac_coords[pairs.other[order]] - cell.frac_coords[pairs.center[order]]
    turns = 2 * np.pi * (steps @ points.T)
    phases = np.exp(1j * turns) if by_place else np.cos(turns)
    sums = np.zeros((len(points), n, b, n, b), phases.dtype)
    if len(places):
        terms = phases[:, :, None] * coupling.blocks[order].reshape(-1, 1, b * b)
        reduced = np.add.reduceat(terms, starts, axis=0).reshape(len(places), -1, b, b)
        sums[:, i, :, j] = reduced
        sums[:, j, :, i] = reduced.conj().transpose(0, 1, 3, 2)
    sums[:, np.arange(n), :, np.arange(n)] += coupling.own[:, None]
    matrices: np.ndarray = sums.reshape(-1, n * b, n * b)
    has = np.flatnonzero(coupling.has)
    return matrices if len(has) == n * b else matrices[:, has[:, None], has]
