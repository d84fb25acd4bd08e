"""Elastic constants of springs: lattices by hand, relaxed atoms against a minimisation, moduli of a cubic crystal."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from scipy.optimize import minimize
from small_systems import cscl, nacl, skewed

from matgl_ssl.crystals import Crystal
from matgl_ssl.targets import Elasticity
from matgl_ssl.targets.elasticity import _averages, elastic_constants
from matgl_ssl.targets.neighbours import find_neighbours
from matgl_ssl.targets.primitive import primitive_cell
from matgl_ssl.targets.spring_calculator import GordySprings
from matgl_ssl.targets.vibrations import Springs, find_springs

TARGET = Elasticity()
GPA = 160.21766208


def crystal_of(atoms) -> Crystal:
    return Crystal(atoms.numbers, atoms.get_scaled_positions(), atoms.cell[:])


def central(crystal: Crystal, k: float, cutoff: float) -> Springs:
    """Springs of k N/m between atoms closer than the cutoff that do not resist sideways."""
    pairs = find_neighbours(crystal, cutoff)
    n = pairs.vector / pairs.distance[:, None]
    blocks = k * n[:, :, None] * n[:, None, :]
    return Springs(pairs, np.full(len(n), k), blocks, pairs.total(blocks), np.ones(len(crystal)))


@pytest.mark.parametrize(
    ("lattice", "cutoff", "c11", "c12"),  # in units of k / a
    [("sc", 1.2, 1, 0), ("fcc", 0.9, 2, 1), ("bcc", 0.9, 2 / 3, 2 / 3)],
)
def test_lattices_with_springs_between_nearest_neighbours(lattice, cutoff, c11, c12):
    """Sums over the springs, by hand; C12 = C44, as Cauchy found for central forces."""
    a, k = 4.0, 12.0
    crystal = crystal_of(bulk("Po", lattice, a=a))
    found = elastic_constants(central(crystal, k, cutoff * a), crystal.volume) / (10 * k / a)
    cubic = np.full((3, 3), float(c12)) + (c11 - c12) * np.eye(3)
    np.testing.assert_allclose(found, np.block([[cubic, np.zeros((3, 3))], [np.zeros((3, 3)), 2 * c12 * np.eye(3)]]),
                               atol=1e-9)  # fmt: skip


def test_diamond_of_central_springs_does_not_resist_shear():
    """Maxwell counts too few bonds; with atoms that move with the cell it would seem to resist."""
    diamond = crystal_of(bulk("C", "diamond", a=3.57))
    springs = central(diamond, 100.0, 1.6)
    relaxed = elastic_constants(springs, diamond.volume)
    affine = elastic_constants(springs, diamond.volume, relaxed=False)
    assert relaxed[3, 3] == pytest.approx(0, abs=1e-6)
    assert affine[3, 3] > 100
    np.testing.assert_allclose(relaxed[:3, :3], affine[:3, :3])  # by symmetry nothing relaxes


@pytest.mark.parametrize("crystal", [skewed(), nacl()], ids=lambda c: c.id)
def test_relaxed_atoms_have_the_least_energy(crystal):
    springs = find_springs(crystal)
    mandel = np.array([0.01, -0.004, 0.002, 0.006, 0.003, -0.005])
    (xx, yy, zz), (yz, xz, xy) = mandel[:3], mandel[3:] / np.sqrt(2)
    strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    calculator = GordySprings()
    calculator.at_rest(crystal.to_atoms())
    atoms = crystal.to_atoms()
    start = calculator.get_potential_energy(atoms)
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    affine = atoms.positions.copy()

    def energy(u: np.ndarray) -> tuple[float, np.ndarray]:
        atoms.positions = affine + u.reshape(-1, 3)
        return calculator.get_potential_energy(atoms) - start, -calculator.get_forces(atoms).ravel()

    least = minimize(energy, np.zeros(affine.size), jac=True, method="BFGS", options={"gtol": 1e-9})
    for relaxed, expected in ((True, least.fun), (False, energy(np.zeros(affine.size))[0])):
        constants = elastic_constants(springs, crystal.volume, relaxed=relaxed) / GPA
        assert mandel @ constants @ mandel / 2 * crystal.volume == pytest.approx(expected, rel=1e-5)
    assert least.fun < 0.99 * energy(np.zeros(affine.size))[0]


def test_averages_of_an_isotropic_solid_are_its_moduli():
    d = np.array([1, 1, 1, 0, 0, 0]) / np.sqrt(3)
    bulk_modulus, shear = 70.0, 30.0
    stiffness = 3 * bulk_modulus * np.outer(d, d) + 2 * shear * (np.eye(6) - np.outer(d, d))
    np.testing.assert_allclose(_averages(stiffness), [bulk_modulus, shear])
    np.testing.assert_allclose(1 / _averages(np.linalg.inv(stiffness)), [9 * bulk_modulus, 4 * shear])


def test_numbers_of_a_cubic_crystal_are_those_of_its_three_constants():
    crystal = crystal_of(bulk("Cu", "fcc", a=3.61, cubic=True))
    cell, _ = primitive_cell(crystal)
    matrix = elastic_constants(find_springs(cell), cell.volume)
    bulk_modulus = _averages(matrix)[0]
    values = np.linalg.eigvalsh(matrix)
    assert values[:2] == pytest.approx(values[0])  # C11 - C12, twice
    assert values[2:5] == pytest.approx(values[2])  # 2 C44, three times
    tetragonal, c44 = values[0] / 2, values[2] / 2
    voigt = (2 * tetragonal + 3 * c44) / 5
    reuss = 5 * tetragonal * c44 / (2 * c44 + 3 * tetragonal)
    shear = (voigt + reuss) / 2
    expected = [
        np.log10(bulk_modulus), np.log10(shear), (3 * bulk_modulus - 2 * shear) / (6 * bulk_modulus + 2 * shear),
        np.log1p(5 * voigt / reuss - 5), np.log10(values[0]), 1.0,
    ]  # fmt: skip
    np.testing.assert_allclose(TARGET(crystal), expected, rtol=1e-6)


def test_what_hardly_resists_is_missing():
    far = Crystal(np.array([1, 1]), np.array([[0, 0, 0], [0.74 / 5.9, 0, 0]]), np.diag([5.9, 5.9, 5.9]))
    assert np.isnan(TARGET(far)).all()
    assert np.isfinite(TARGET(cscl())).all()
