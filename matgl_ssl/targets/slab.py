"""A crystal seen as a stack of layers: the gap between them, their thickness, and what lies on their faces.

The layers are parallel to those lattice planes between which the widest space is empty of atoms. In a layered crystal
this is the van der Waals gap, in a cell with a slab the vacuum, and in a dense crystal the widest spacing of planes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from matgl_ssl.crystals.elements import element_table
from matgl_ssl.crystals.records import Crystal

from .primitive import PrimitiveCell
from .target import CellTarget

_MG_PER_M2 = 0.166053906660
"""mg/m² in an atomic mass unit per Å²."""
_ALIKE = 0.01  # Å: gaps that differ by less are one gap, repeated by symmetry
_SKIN = 1.0  # Å: depth over which an atom ceases to belong to a face
_EQUAL = 1e-4  # Å: rounding of coordinates
_FARTHEST, _MOST_PLANES = 20, 4000  # of enormous cells: all planes would take seconds

NAMES = (
    "gap", "empty gap", "thickness", "area per atom", "mass per area", "packing (covalent radii)",
    "packing (atomic radii)", "share of surface atoms", "atomic number of surface atoms",
    "electronegativity of surface atoms", "surface atoms per area", "squared radii of surface atoms per area",
)  # fmt: skip
"""What the numbers of ``slab`` are, in order."""


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a crystal.

    Attributes:
        normal: Miller indices of the planes in the cell's reciprocal basis, shape ``(3,)``.
        spacing: Distance from a layer stack to its repetition, Å.
        gap: Width of the empty space between planes of atoms, Å.
        n_layers: Layers in a repetition, each followed by a gap as wide.
        depth: Of each atom below the nearer face of its layer, Å, shape ``(N,)``.
        faces: Atoms on both sides of the gaps, shape ``(N,)`` bool.
    """

    normal: np.ndarray
    spacing: float
    gap: float
    n_layers: int
    depth: np.ndarray
    faces: np.ndarray


def find_layers(crystal: Crystal) -> Layers:
    """The layers between a crystal's widest gaps.

    Args:
        crystal: A crystal whose lattice vectors are short (``primitive_cell``).
    """
    bound = max(float(_gaps(crystal, axis[None], np.array([1 / np.linalg.norm(row)]))[0].max())
                for axis, row in zip(np.eye(3, dtype=int), np.linalg.inv(crystal.lattice).T, strict=True))  # fmt: skip
    normals, spacings = _planes(crystal.lattice, bound - _EQUAL)
    widest = _gaps(crystal, normals, spacings)[0].max(axis=1)
    ties = np.flatnonzero(widest > widest.max() - _EQUAL)
    chosen = ties[np.argmax(spacings[ties] > spacings[ties].max() - _EQUAL)]
    spacing = float(spacings[chosen])
    (gaps,), (order,), (height,) = _gaps(crystal, normals[[chosen]], spacings[[chosen]])
    wide = np.flatnonzero(gaps > gaps.max() - _ALIKE)  # gap i is above the i-th atom
    top = height[order][wide]
    to_top = np.subtract.outer(top, height)
    to_bottom = np.subtract.outer(-top - gaps[wide], -height)
    depth = np.minimum(*(_in_period(each, spacing).min(axis=0) for each in (to_top, to_bottom)))
    return Layers(normals[chosen], spacing, float(gaps.max()), len(wide), depth, depth < _ALIKE)


def slab(crystal: Crystal) -> np.ndarray:
    """What ``NAMES`` says of a crystal: descriptors for whatever learns from tables. NaN where they are not known.

    Args:
        crystal: The crystal, in any cell.

    Returns:
        Shape ``(12,)``. Lengths are in Å, areas in Å², the mass per area in mg/m².
    """
    return Slab()(crystal)


@dataclass(frozen=True)
class Slab(CellTarget):
    """A crystal as a stack of layers, in twelve numbers: ``NAMES``.

    The gap lies between planes of atoms' centres, the empty gap between covalent spheres. The thickness is that of one
    layer. Packing is the share of a layer, from face to face of its spheres, that spheres fill. An atom belongs to a
    face by ``exp(-(depth / 1 Å)²)``.
    """

    name: ClassVar[str] = "slab"
    level: ClassVar[Literal["crystal"]] = "crystal"
    version: ClassVar[int] = 1
    size: ClassVar[int] = 12

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(12,)``; NaN where a radius or a mass is not known."""
        names = ("covalent-radius", "atomic-radius", "mass", "electronegativity", "atomic-number")
        radius, atomic, mass, pull, number = element_table(names)[cell.numbers].T
        layers = find_layers(cell)
        area = layers.n_layers * cell.volume / layers.spacing  # of all layers' sheets
        thickness = layers.spacing / layers.n_layers - layers.gap
        on = np.exp(-((layers.depth / _SKIN) ** 2))
        weight = on / on.sum()
        known = np.isfinite(pull)
        face = radius[layers.faces].mean()
        return np.array(
            [
                layers.gap, layers.gap - 2 * face, thickness, area / len(cell), mass.sum() * _MG_PER_M2 / area,
                _packing(radius, area * (thickness + 2 * face)),
                _packing(atomic, area * (thickness + 2 * atomic[layers.faces].mean())),
                on.mean(), weight @ number,
                weight[known] @ pull[known] / weight[known].sum() if known.any() else np.nan,
                on.sum() / area, on @ radius**2 / area,
            ]
        )  # fmt: skip


def _packing(radius: np.ndarray, volume: float) -> float:
    return float(4 / 3 * np.pi * (radius**3).sum() / volume)


def _planes(lattice: np.ndarray, narrowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Miller indices ``(P, 3)`` of the lattice planes that are at least so far apart, and their spacings in Å."""
    # hkl = G.a is no longer than |G||a|, in whatever basis.
    reach = np.minimum(np.linalg.norm(lattice, axis=1) / narrowest + 1e-6, _FARTHEST).astype(int).clip(1)
    indices = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    indices = indices[len(indices) // 2 + 1 :]  # one of a plane and its back
    spacings = 1 / np.linalg.norm(indices @ np.linalg.inv(lattice).T, axis=1)
    kept = np.flatnonzero((spacings >= narrowest) & (np.gcd.reduce(indices, axis=1) == 1))
    kept = kept[np.argsort(-spacings[kept], kind="stable")][:_MOST_PLANES]
    return indices[kept], spacings[kept]


def _gaps(crystal: Crystal, normals: np.ndarray, spacings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Above each atom the empty space, in order of height; that order; and each atom's height: ``(P, N)`` each, Å."""
    height = (normals @ crystal.frac_coords.T) % 1 % 1 * spacings[:, None]
    order = np.argsort(height, axis=1, kind="stable")
    ordered = np.take_along_axis(height, order, axis=1)
    return np.diff(ordered, axis=1, append=ordered[:, :1] + spacings[:, None]), order, height


def _in_period(distance: np.ndarray, period: float) -> np.ndarray:
    """From 0 to a period, and 0 for what misses it by rounding."""
    wrapped = distance % period
    return np.where(period - wrapped < _EQUAL, 0.0, wrapped)
