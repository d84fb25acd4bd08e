"""Gordy's springs as a teacher: a dimer by hand, derivatives by differences, elastic constants of a lattice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from small_systems import SMALL, cscl, nacl, rattled, skewed

from matgl_ssl.backends import GPA
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.targets import CrystalBonds
from matgl_ssl.targets.spring_calculator import GordySprings
from matgl_ssl.targets.teacher import teacher_labels
from matgl_ssl.targets.vibrations import find_springs
from matgl_ssl.training.pretrain import pretrain

EV = 16.021766  # N/m of an eV/Å²


def calculator(rest: Crystal) -> GordySprings:
    springs = GordySprings()
    springs.at_rest(rest.to_atoms())
    return springs


def with_springs(atoms: Atoms, rest: Crystal) -> Atoms:
    atoms.calc = calculator(rest)
    return atoms


def deformed(rest: Crystal, seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = rest.to_atoms()
    strain = rng.normal(0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    return atoms


def test_a_stretched_dimer_is_by_hand():
    """Two hydrogen atoms far from their images: one bond of order 1, between atoms that are as electronegative."""
    r = 0.8
    rest = Crystal(np.array([1, 1]), np.array([[0, 0, 0], [r / 20, 0, 0]]), 20 * np.eye(3))
    k = 167 * (2.2 * 2.2 / r**2) ** 0.75 / EV
    atoms = with_springs(rest.to_atoms(), rest)
    assert atoms.get_potential_energy() == pytest.approx(0, abs=1e-12)  # no ionic energy
    atoms.positions[1] += [0.1, 0.2, 0]
    assert atoms.get_potential_energy() == pytest.approx(k * (0.1**2 + 0.1 * 0.2**2) / 2, rel=1e-6)
    pull = k * np.array([0.1, 0.1 * 0.2, 0])  # a tenth sideways
    np.testing.assert_allclose(atoms.get_forces(), [pull, -pull], rtol=1e-6, atol=1e-9)
    virial = np.outer([0.9, 0.2, 0], pull)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), (virial + virial.T) / 2 / 20**3, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("rest", [nacl(), cscl(), skewed()], ids=lambda c: c.id)
def test_forces_and_stresses_are_derivatives_of_the_energy(rest):
    atoms, h = with_springs(deformed(rest), rest), 1e-4
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    assert np.abs(forces).max() > 0.05
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-9)
    for axis in range(3):
        energies = []
        for step in (h, -h):
            moved = with_springs(atoms.copy(), rest)
            moved.positions[0, axis] += step
            energies.append(moved.get_potential_energy())
        assert -(energies[0] - energies[1]) / (2 * h) == pytest.approx(forces[0, axis], rel=1e-5, abs=1e-7)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        energies = []
        for step in (h, -h):
            strain = np.zeros((3, 3))
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            moved = with_springs(atoms.copy(), rest)
            moved.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(moved.get_potential_energy())
        assert (energies[0] - energies[1]) / (2 * h) / atoms.get_volume() == pytest.approx(stress[i, j], rel=1e-4)


def test_at_rest_the_energy_is_paulings_and_there_is_no_force():
    atoms = with_springs(cscl().to_atoms(), cscl())
    assert atoms.get_potential_energy() / 2 == pytest.approx(CrystalBonds()(cscl())[0])
    assert np.abs(atoms.get_forces()).max() < 1e-12
    assert np.abs(atoms.get_stress()).max() < 1e-12


def test_turning_crystal_and_copy_turns_forces_and_stress():
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rest, atoms = skewed(), deformed(skewed())
    turned = Crystal(rest.numbers, rest.frac_coords, rest.lattice @ rotation)
    other = Atoms(atoms.numbers, positions=atoms.positions @ rotation, cell=atoms.cell[:] @ rotation, pbc=True)
    one, two = with_springs(atoms, rest), with_springs(other, turned)
    assert two.get_potential_energy() == pytest.approx(one.get_potential_energy())
    np.testing.assert_allclose(two.get_forces(), one.get_forces() @ rotation, atol=1e-8)
    np.testing.assert_allclose(
        two.get_stress(voigt=False), rotation.T @ one.get_stress(voigt=False) @ rotation, atol=1e-10
    )


def test_elastic_constants_of_a_lattice_are_sums_over_its_springs():
    """Of a lattice whose atoms are all centres of inversion: C_abcd = sum of r_b K_ac r_d / 2V, symmetrised."""
    copper = bulk("Cu", "fcc", a=3.61)
    rest = Crystal(copper.numbers, copper.get_scaled_positions(), copper.cell[:])
    springs = find_springs(rest)
    (x, y, _), k, c = springs.pairs.vector.T, springs.stiffness, 0.1
    xxxx, xxyy = (k / springs.pairs.distance**2 * np.array([x**4, x**2 * y**2])).sum(1)
    square = (k * x**2).sum()
    to_gpa = GPA / EV / (2 * rest.volume)
    c11 = ((1 - c) * xxxx + c * square) * to_gpa
    c12 = (1 - c) * xxyy * to_gpa
    c44 = ((1 - c) * xxyy + c * square / 2) * to_gpa  # of central springs alone it is c12, as Cauchy found
    h = 1e-5

    def stress(strain: np.ndarray) -> np.ndarray:
        atoms = rest.to_atoms()
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        return with_springs(atoms, rest).get_stress(voigt=False) * GPA / h

    stretched = stress(np.diag([h, 0, 0]))
    sheared = stress(np.array([[0, h / 2, 0], [h / 2, 0, 0], [0, 0, 0]]))
    assert stretched[0, 0] == pytest.approx(c11, rel=1e-3)
    assert stretched[1, 1] == pytest.approx(c12, rel=1e-3)
    assert sheared[0, 1] == pytest.approx(c44, rel=1e-3)


def test_copies_are_labelled_about_their_crystal():
    crystals = CrystalDataset.from_crystals([nacl(), cscl()])
    labelled = teacher_labels(crystals, "gordy-springs", copies=2, sigma=0.1, strain=0.02)
    assert labelled.ids == ["nacl", "nacl#1", "nacl#2", "cscl", "cscl#1", "cscl#2"]
    for rest, copy in ((nacl(), labelled[2]), (cscl(), labelled[4])):
        atoms = with_springs(copy.to_atoms(), rest)
        assert copy.labels["energy"] == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(copy.labels["forces"], atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(copy.labels["stress"], atoms.get_stress(voigt=False), atol=1e-9)
    assert labelled[1].labels["energy"] > labelled[0].labels["energy"]
    assert not labelled[0].labels["forces"].any()


def test_crystals_without_springs_are_left_out(caplog):
    lone = Crystal(np.array([18]), np.zeros((1, 3)), 30 * np.eye(3), id="lone")
    labelled = teacher_labels(CrystalDataset.from_crystals([lone, cscl()]), "gordy-springs")
    assert labelled.ids == ["cscl"]
    assert "lone: ValueError: an atom has no neighbour" in caplog.text


def test_a_run_goes_on_without_naming_the_teacher_again(tmp_path):
    crystals = [dataclasses.replace(rattled(nacl(), 0.02, seed=i), id=str(i)) for i in range(6)]
    options = {"data": crystals, "out": tmp_path / "run"}
    pretrain(
        **options, recipe="spring-forces", model="MEGNet", model_args=dict(SMALL["MEGNet"]), epochs=1, batch_size=4,
        val_fraction=0.3, accelerator="cpu",
    )  # fmt: skip
    pretrain(**options, resume=True)
