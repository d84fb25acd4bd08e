"""The spring network against the dynamical matrix that it stands for, diagonalised, and against a strained energy."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from pymatgen.analysis.local_env import CovalentRadius
from small_systems import cscl, iron, nacl, rattled, skewed

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import element_table
from matgl_ssl.targets import AtomSprings, CrystalSprings
from matgl_ssl.targets.neighbours import cosine_cutoff, find_neighbours

TARGET = CrystalSprings()


def bonds(crystal: Crystal):
    """(i, j, cells between them, vector, stiffness) of every pair, one by one."""
    radius = [CovalentRadius.radius[s] for s in crystal.symbols]
    pairs = find_neighbours(crystal, TARGET.cutoff)
    for i, j, vector in zip(pairs.center, pairs.other, pairs.vector, strict=True):
        r = float(np.linalg.norm(vector))
        cells = np.round(vector @ np.linalg.inv(crystal.lattice) - crystal.frac_coords[j] + crystal.frac_coords[i])
        stiffness = np.exp((radius[i] + radius[j] - r) / TARGET.softness) * cosine_cutoff(np.array(r), TARGET.cutoff)
        yield i, j, cells, vector, float(stiffness)


def frequencies(crystal: Crystal, mesh: int) -> np.ndarray:
    """Squared frequencies on a mesh of the Brillouin zone fine enough that no two images of an atom are confused."""
    n, mass = len(crystal), element_table(("mass",))[crystal.numbers][:, 0]
    found = []
    for q in itertools.product(np.arange(mesh) / mesh, repeat=3):
        matrix = np.zeros((n, 3, n, 3), complex)
        for i, j, cells, vector, stiffness in bonds(crystal):
            unit = vector / np.linalg.norm(vector)
            block = stiffness * (0.9 * np.outer(unit, unit) + 0.1 * np.eye(3))
            matrix[i, :, i] += block / mass[i]
            matrix[i, :, j] -= block * np.exp(2j * np.pi * cells @ q) / np.sqrt(mass[i] * mass[j])
        found.append(np.linalg.eigvalsh(matrix.reshape(3 * n, 3 * n)))
    return np.array(found)


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(cscl(), 0.3, seed=6)])
def test_moments_are_those_of_the_spectrum(make):
    crystal = make()
    squared = frequencies(crystal, 7)
    assert squared.min() > -1e-9
    rms, top = TARGET(crystal)[:2]
    assert rms**2 == pytest.approx(squared.mean(), rel=1e-6)
    assert (rms * top) ** 2 == pytest.approx((squared**2).mean(), rel=1e-6)
    atoms = AtomSprings()(crystal)
    assert (atoms[:, 0] ** 2).mean() == pytest.approx(squared.mean(), rel=1e-6)
    assert (atoms[:, :2].prod(1) ** 2).mean() == pytest.approx((squared**2).mean(), rel=1e-6)
    assert TARGET(crystal)[2:4] == pytest.approx([atoms[:, 0].max(), atoms[:, 0].min()])


def test_bulk_modulus_is_the_second_derivative_of_the_energy():
    crystal = skewed()
    _, _, _, vectors, stiffness = map(list, zip(*bonds(crystal), strict=True))
    lengths, springs = np.linalg.norm(vectors, axis=1), np.array(stiffness)

    def energy(strain: float) -> float:
        return float((springs * (lengths * strain) ** 2).sum() / 4)  # half a spring, each seen from both ends

    h = 1e-3
    curvature = (energy(h) - 2 * energy(0.0) + energy(-h)) / h**2
    modulus, stiffness_per_atom = np.exp(TARGET(crystal)[4:])
    assert modulus == pytest.approx(curvature / (9 * crystal.volume), rel=1e-6)
    assert stiffness_per_atom == pytest.approx(springs.sum() / len(crystal))


def test_an_atom_on_a_cubic_site_is_held_alike_in_all_directions_and_a_heavy_one_is_slower():
    atoms = AtomSprings()(cscl())
    assert atoms[:, 3] == pytest.approx(0, abs=1e-9)
    masses = element_table(("mass",))[cscl().numbers][:, 0]
    assert np.exp(atoms[:, 2]) / atoms[:, 0] ** 2 == pytest.approx(masses)
    assert (AtomSprings()(skewed())[:, 3] < -0.1).any()


def test_a_shorter_cell_is_stiffer():
    short = dataclasses.replace(nacl(), lattice=0.95 * nacl().lattice)
    assert (TARGET(short) > TARGET(nacl())).all()


def test_atoms_without_springs_have_none():
    lone = Crystal(np.array([18]), np.zeros((1, 3)), 9 * np.eye(3))
    assert np.isnan(AtomSprings()(lone)).all()
    assert np.isnan(TARGET(lone)).all()
    unknown = dataclasses.replace(cscl(), numbers=np.array([55, 118]))  # no covalent radius
    assert np.isnan(AtomSprings()(unknown)).all()
    assert np.isnan(TARGET(unknown)).all()
