"""The electronic structure of a crystal as Harrison's universal tight binding has it, without iterating.

Valence orbitals only: s, p, and d for groups 3 to 12; f electrons are core. Their energies are those of neutral atoms
in the local density approximation, as pymatgen tabulates them (Kotochigova et al., Phys. Rev. A 55, 191 (1997)); a p
level that atoms leave empty lies at zero, such a d level at lanthanum's. Between nearest neighbours at distance d,
along the bond (W. A. Harrison, Electronic Structure and the Properties of Solids, 1980, chapters 2 and 20),

    V_ll'm = η_ll'm ħ²/(m d²),   V_ldm = η_ldm ħ² r_d^(3/2)/(m d^(7/2)),   V_ddm = η_ddm ħ² r_d³/(m d⁵).

Deviations: r_d is not his table's but 0.7 covalent radii; the couplings fade between 1.1 and 1.3 sums of covalent
radii, where nearest neighbours end, and grow no more below 0.7 of that sum. These four constants were chosen by the
measured gaps of 33 crystals of textbooks; no label of a crystal that is pretrained on is used. What comes of it is no
band structure to be published: it is too covalent, and the gaps of ionic crystals are much too small. But it knows
which orbitals an electron has to cross over to, and that is most of whether there is a gap, and of how large it is
beside others.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pymatgen.core import Element
from scipy.optimize import brentq
from scipy.special import expit

from matgl_ssl.crystals.elements import element_table

from .bloch import LARGEST, Coupling, Spectrum, diagonalise
from .neighbours import cosine_cutoff, find_neighbours
from .primitive import PrimitiveCell
from .target import CellTarget

_HARTREE = 27.211386  # eV
_COUPLING = 7.62  # ħ²/m in eV Å²
_SHELLS = (slice(0, 1), slice(1, 4), slice(4, 9))  # s, p, d of an atom's nine orbitals
_PARITY = np.repeat([1, -1, 1], [1, 3, 5])
_LANTHANUM_D = -0.141085  # Hartree
_FULL, _GONE, _NEAREST = 1.1, 1.3, 0.7  # distances in sums of covalent radii
_D_RADIUS = 0.7  # in covalent radii
_SMEARING = 0.1  # eV


class _Atom(NamedTuple):
    """An element's valence shell."""

    levels: np.ndarray  # (9,) eV
    has: np.ndarray  # (9,) bool
    electrons: float
    energy: float  # of the electrons of a free atom, eV


@lru_cache(maxsize=128)
def _atom(number: int) -> _Atom | None:
    element = Element.from_Z(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of what it lacks, as if that were zero
        orbitals = element.atomic_orbitals or {}
    if not orbitals or np.isnan(element_table(("covalent-radius",))[number, 0]):
        return None
    occupied = {n + shell: int(k) for n, shell, k in re.findall(r"(\d)([spdf])(\d+)", element.electronic_structure)}
    n = element.row
    s, p, d = f"{n}s", f"{n}p", f"{n - 1}d"
    s_level = orbitals[s if s in orbitals else d]  # palladium's s is empty
    transition = n >= 4 and 3 <= element.group <= 12
    shells = {
        s: s_level,
        p: None if number <= 2 else orbitals.get(p, 0.0),  # hydrogen and helium
        d: orbitals.get(d, _LANTHANUM_D) if transition else None,
    }
    levels = _HARTREE * np.repeat([level or 0.0 for level in shells.values()], [1, 3, 5])
    has = np.repeat([level is not None for level in shells.values()], [1, 3, 5])
    electrons = float(sum(occupied.get(name, 0) for name, level in shells.items() if level is not None))
    if element.is_lanthanoid or element.is_actinoid:
        electrons = float(max(element.common_oxidation_states, default=3))
    free = np.sort(np.repeat(levels[has], 2))[: int(electrons)].sum()
    return _Atom(levels, has, electrons, float(free))


def _symmetric_traceless() -> np.ndarray:
    """The five d orbitals as symmetric traceless matrices of unit norm: shape ``(5, 3, 3)``."""
    basis = np.zeros((5, 3, 3))
    for orbital, (i, j) in enumerate([(0, 1), (1, 2), (0, 2)]):
        basis[orbital, i, j] = basis[orbital, j, i] = np.sqrt(1 / 2)
    basis[3] = np.diag([1, -1, 0]) / np.sqrt(2)
    basis[4] = np.diag([-1, -1, 2]) / np.sqrt(6)
    return basis


_D = _symmetric_traceless()


def _hoppings(vector: np.ndarray, distance: np.ndarray, d_radius: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Couplings of the orbitals of two atoms by direction cosines (Slater and Koster, 1954), in eV.

    Args:
        vector: Unit vectors from the first to the second, ``(P, 3)``.
        distance: Å, ``(P,)``.
        d_radius: r_d of the first and of the second atom, each ``(P,)``; None without d orbitals.

    Returns:
        Shape ``(P, 9, 9)``, or ``(P, 4, 4)`` of s and p alone.
    """
    orbitals = 9 if d_radius else 4
    along = vector[:, :, None] * vector[:, None]
    across = np.eye(3) - along
    v = (_COUPLING / distance**2)[:, None, None]
    result = np.zeros((len(distance), orbitals, orbitals))
    s, p, d = _SHELLS
    result[:, s, s] = -1.40 * v
    result[:, s, p] = 1.84 * v * vector[:, None]
    result[:, p, s] = -1.84 * v * vector[:, :, None]
    result[:, p, p] = v * (3.24 * along - 0.81 * across)
    if not d_radius:
        return result
    first, second = d_radius
    v_first, v_second = ((_COUPLING * r**1.5 / distance**3.5)[:, None, None] for r in (first, second))
    v_both = (_COUPLING * (first * second) ** 1.5 / distance**5)[:, None, None]
    bent = (vector @ _D.reshape(15, 3).T).reshape(-1, 5, 3)
    sigma = np.sqrt(3 / 2) * bent @ vector[:, :, None]  # (P, 5, 1): the d orbital along the bond
    pi = np.sqrt(2) * bent @ across  # (P, 5, 3): those with one nodal plane
    pd = -2.95 * sigma * vector[:, None] + 1.36 * pi  # (P, 5, 3)
    result[:, s, d] = -3.16 * v_second * sigma.transpose(0, 2, 1)
    result[:, d, s] = -3.16 * v_first * sigma
    result[:, p, d] = v_second * pd.transpose(0, 2, 1)
    result[:, d, p] = -v_first * pd
    result[:, d, d] = v_both * (-16.2 * sigma * sigma.transpose(0, 2, 1) + 8.75 * pi @ pi.transpose(0, 2, 1))
    return result


@dataclass(frozen=True, eq=False)
class _Bands:
    """The levels of a crystal.

    Attributes:
        spectrum: Levels in eV.
        occupation: Of each level, 0 to 1, ``(K, M)``.
        fermi: The chemical potential in eV.
        atoms: In the cell.
    """

    spectrum: Spectrum
    occupation: np.ndarray
    fermi: float
    atoms: list[_Atom]

    @property
    def electrons(self) -> float:
        """In the cell."""
        return sum(atom.electrons for atom in self.atoms)

    def near_fermi(self, width: float) -> np.ndarray:
        """How near each level is, ``(K, M)``: a Gaussian in 1/eV."""
        return np.exp(-0.5 * ((self.spectrum.levels - self.fermi) / width) ** 2) / (width * np.sqrt(2 * np.pi))


@lru_cache(maxsize=2)
def _bands(cell: PrimitiveCell) -> _Bands | None:
    """Diagonalise; None for a crystal that is too large, or has an element without data."""
    atoms = [atom for number in cell.numbers.tolist() if (atom := _atom(number))]
    if len(cell) > LARGEST or len(atoms) < len(cell):
        return None
    radius = element_table(("covalent-radius",))[cell.numbers, 0]
    pairs = find_neighbours(cell, 2 * _GONE * radius.max())
    reach = radius[pairs.center] + radius[pairs.other]
    near = (pairs.distance < _GONE * reach) & (pairs.center >= pairs.other)
    pairs, reach = pairs.where(near), reach[near]
    fading = np.clip((pairs.distance / reach - _FULL) / (_GONE - _FULL), 0, 1)
    has = np.array([atom.has for atom in atoms])
    d_radius = (_D_RADIUS * radius[pairs.center], _D_RADIUS * radius[pairs.other]) if has[:, 4:].any() else None
    hoppings = _hoppings(pairs.vector / pairs.distance[:, None], np.maximum(pairs.distance, _NEAREST * reach), d_radius)
    hoppings *= cosine_cutoff(fading, 1.0)[:, None, None]
    orbitals = hoppings.shape[1]
    onsite = np.array([atom.levels[:orbitals] for atom in atoms])[:, :, None] * np.eye(orbitals)
    found = diagonalise(cell, Coupling(pairs, hoppings, onsite, has[:, :orbitals], _PARITY[:orbitals]), vectors=True)
    fermi, occupation = _fill(found.levels, found.weights, sum(atom.electrons for atom in atoms))
    return _Bands(found, occupation, fermi, atoms)


def _fill(levels: np.ndarray, weights: np.ndarray, electrons: float) -> tuple[float, np.ndarray]:
    """The chemical potential and what it occupies: in the middle of a wide gap, else where the electrons fit."""

    def occupied(mu: float) -> np.ndarray:
        return np.asarray(expit((mu - levels) / _SMEARING))

    def surplus(mu: float) -> float:
        return float(2 * weights @ occupied(mu).sum(1) - electrons + 1e-9)  # full bands end somewhere

    edges = _edges(levels, electrons)
    if edges and edges[1] - edges[0] > 10 * _SMEARING:  # any value between would do
        mu = sum(edges) / 2
    else:
        mu = brentq(surplus, levels.min() - 10, levels.max() + 10, xtol=1e-13)
    return mu, occupied(mu)


def _edges(levels: np.ndarray, electrons: float) -> tuple[float, float] | None:
    """Top of the valence and bottom of the conduction bands; None where a band is half full, or all or none are."""
    filled = int(electrons // 2)
    if electrons % 2 or not 0 < filled < levels.shape[1]:
        return None
    below, above = np.partition(levels, (filled - 1, filled), axis=1)[:, filled - 1 : filled + 1].T
    return float(below.max()), float(above.min())


@dataclass(frozen=True)
class CrystalTightBinding(CellTarget):
    """A crystal's bands by Harrison's universal tight binding, in six numbers.

    The gap in eV, 0 where an odd number of electrons leaves a band half full; energy gained per atom over free atoms,
    eV; the chemical potential, eV; densities of states around it per atom, within 0.3 and 1.5 eV, 1/eV; standard
    deviation of the occupied levels, eV.
    """

    name: ClassVar[str] = "crystal-tight-binding"
    level: ClassVar[Literal["crystal"]] = "crystal"
    size: ClassVar[int] = 6

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(6,)``; NaN for more than 80 atoms, and for elements from neptunium on."""
        bands = _bands(cell)
        if bands is None:
            return np.full(self.size, np.nan)
        n, (levels, weights) = len(cell), (bands.spectrum.levels, bands.spectrum.weights)
        share = weights[:, None] * bands.occupation
        mean = (share * levels).sum() / share.sum()
        spread = np.sqrt((share * (levels - mean) ** 2).sum() / share.sum())
        gain = (2 * (share * levels).sum() - sum(atom.energy for atom in bands.atoms)) / n
        densities = [2 * weights @ bands.near_fermi(width).sum(1) / n for width in (0.3, 1.5)]
        edges = _edges(levels, bands.electrons)
        gap = max(0.0, edges[1] - edges[0]) if edges else 0.0
        return np.array([gap, gain, bands.fermi, *densities, spread])


@dataclass(frozen=True)
class AtomTightBinding(CellTarget):
    """Each atom's part in the bands by Harrison's universal tight binding, in four numbers.

    Electrons that it has fewer than a free atom (fewer on the more covalent partner than they are); the energy its
    electrons gained over the free atom's, eV; its part of the density of states within 1.5 eV of the chemical
    potential, 1/eV; mean energy of its electrons, eV.
    """

    name: ClassVar[str] = "atom-tight-binding"
    level: ClassVar[Literal["atom"]] = "atom"
    size: ClassVar[int] = 4

    def of_cell(self, cell: PrimitiveCell) -> np.ndarray:
        """Compute it, ``(N, 4)``; NaN for more than 80 atoms, and for elements from neptunium on."""
        bands = _bands(cell)
        if bands is None:
            return np.full((len(cell), self.size), np.nan)
        share = bands.occupation
        values = np.stack([share, share * bands.spectrum.levels, bands.near_fermi(1.5)], axis=2)
        population, energy, near = 2 * bands.spectrum.of_atoms(values).T
        electrons, free = np.array([(atom.electrons, atom.energy) for atom in bands.atoms]).T
        return np.stack([electrons - population, energy - free, near, energy / population], axis=1)
