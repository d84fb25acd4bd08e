"""A derivative-pretrained M3GNet as a potential for ASE: its forces, its stress, and what it relaxes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import matgl
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.geometry import find_mic
from ase.optimize import BFGS, FIRE
from ase.units import GPa
from matgl.ext.ase import PESCalculator
from pymatgen.core import Element
from small_systems import SMALL

from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal
from matgl_ssl.hub import load_model, load_with_stamp
from matgl_ssl.hub.stamp import OUTPUT
from matgl_ssl.training.pretrain import PretrainResult, pretrain

ELEMENTS = ("Na", "K", "Cl", "Br", "Mg", "O")
SALTS = (("Na", "Cl", 5.64), ("K", "Cl", 6.29), ("Na", "Br", 5.97), ("Mg", "O", 4.21))
ARGUMENTS = {**SMALL["M3GNet"], "element_types": ELEMENTS, "cutoff": 4.5, "threebody_cutoff": 3.5}


def rock_salt(cation: str, anion: str, a: float, strain: Any = 0.0) -> Crystal:
    first = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    numbers = np.repeat([Element(cation).Z, Element(anion).Z], 4)
    return Crystal(numbers, np.concatenate([first, (first + 0.5) % 1]), a * (np.eye(3) + strain))


def strained_salts(n: int) -> list[Crystal]:
    """Atoms on their sites, cells strained by two per cent: nothing is rattled."""
    rng = np.random.default_rng(0)
    strains = rng.normal(scale=0.02, size=(n, 3, 3))
    return [rock_salt(*SALTS[i % len(SALTS)], strain=(s + s.T) / 2) for i, s in enumerate(strains)]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return pretrain(
        model="M3GNet", model_args=ARGUMENTS, recipe="derivative-denoising", data=strained_salts(48), val_fraction=0.1,
        out=tmp_path_factory.mktemp("denoising") / "run", epochs=25, batch_size=8, lr=5e-3, accelerator="cpu",
    )  # fmt: skip


@pytest.fixture
def float64() -> Iterator[None]:
    """MatGL's converters make graphs in float64 too: MatGL 2 needs it, and no coordinate is rounded."""
    matgl.set_default_dtype("float", 64)
    yield
    matgl.set_default_dtype("float", 32)


@pytest.fixture
def potential(pretrained: PretrainResult, float64: None) -> Any:
    loaded = matgl.load_model(pretrained.potential)
    assert isinstance(loaded, Potential)
    return loaded.double()


def rattled_atoms(potential: Any, *, scale: float = 0.1, **options: Any) -> Atoms:
    """A salt with no symmetry left, off its sites and in a skewed cell."""
    rng = np.random.default_rng(3)
    atoms = rock_salt("Na", "Cl", 5.6, strain=0.03 * rng.normal(size=(3, 3))).to_atoms()
    atoms.positions += rng.normal(scale=scale, size=atoms.positions.shape)
    atoms.calc = PESCalculator(potential, stress_unit="eV/A3", **options)
    return atoms


def energy(atoms: Atoms) -> float:
    return atoms.get_potential_energy()


def central_differences(atoms: Atoms, step: float) -> np.ndarray:
    """``-dE/dx`` of each coordinate."""
    forces = np.zeros_like(atoms.positions)
    for index in np.ndindex(*forces.shape):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[index] += sign * step
            ends.append(energy(moved))
        forces[index] = -(ends[0] - ends[1]) / (2 * step)
    return forces


def strain_differences(atoms: Atoms, step: float) -> np.ndarray:
    """``(1/V) dE/dstrain`` with a symmetric strain."""
    stress = np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5
        strain[j, i] += 0.5
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.set_cell(atoms.cell[:] @ (np.eye(3) + sign * step * strain), scale_atoms=True)
            ends.append(energy(moved))
        stress[i, j] = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
    return stress


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert np.linalg.norm(expected) > 1e-6
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_forces_are_central_differences_of_the_energy(potential):
    atoms = rattled_atoms(potential)
    assert relative_error(atoms.get_forces(), central_differences(atoms, 1e-4)) < 1e-4


@pytest.mark.pyg  # MatGL 2 does not cast its float32 graphs to the potential's float64, and stops
def test_forces_are_central_differences_without_matgls_default_dtype(pretrained):
    potential = matgl.load_model(pretrained.potential).double()
    atoms = rattled_atoms(potential)
    # Coordinates go through float32: a step well above its rounding.
    assert relative_error(atoms.get_forces(), central_differences(atoms, 5e-3)) < 1e-3


def test_stress_has_ases_sign_and_unit(potential):
    atoms = rattled_atoms(potential)
    stress = atoms.get_stress(voigt=False)
    assert relative_error(stress, strain_differences(atoms, 1e-5)) < 1e-3
    assert relative_error((stress + stress.T) / 2, stress) < 1e-6


def test_stress_is_what_ase_computes_itself(potential):
    fd = pytest.importorskip("ase.calculators.fd", reason="this ASE has no finite differences of its own")
    atoms = rattled_atoms(potential)
    numerical = fd.calculate_numerical_stress(atoms, eps=1e-5, voigt=True)
    assert relative_error(atoms.get_stress(), numerical) < 1e-3


def test_the_calculators_default_unit_is_gpa(potential):
    atoms = rattled_atoms(potential)
    in_gpa = atoms.copy()
    in_gpa.calc = PESCalculator(potential)
    np.testing.assert_allclose(in_gpa.get_stress() * GPa, atoms.get_stress(), rtol=1e-6)


def test_relaxing_the_cell_lowers_the_energy(potential):
    atoms = rattled_atoms(potential)
    atoms.positions = rock_salt("Na", "Cl", 1.0).frac_coords @ atoms.cell[:]  # at rest: only the cell is to move
    trajectory, volumes = [], []
    # Short steps and few: denoising taught it nothing of the cell, and nothing keeps its energy from falling on.
    optimizer = FIRE(FrechetCellFilter(atoms), logfile=None, maxstep=0.02)
    optimizer.attach(lambda: (trajectory.append(energy(atoms)), volumes.append(atoms.get_volume())))
    optimizer.run(fmax=1e-4, steps=8)
    assert trajectory == sorted(trajectory, reverse=True)
    assert trajectory[-1] < trajectory[0]
    assert volumes[-1] != pytest.approx(volumes[0], rel=1e-4)


@pytest.mark.parametrize("salt", SALTS[:2], ids=lambda salt: "".join(salt[:2]))
def test_a_rattled_crystal_relaxes_back(potential, salt):
    ideal = rock_salt(*salt).to_atoms()
    atoms = ideal.copy()
    atoms.positions += np.random.default_rng(7).normal(scale=0.1, size=atoms.positions.shape)
    atoms.calc = PESCalculator(potential, stress_unit="eV/A3")

    def away() -> float:
        moved = find_mic(atoms.positions - ideal.positions, atoms.cell)[0]
        return float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).mean())

    before = away()
    assert before > 0.1
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=60)
    assert away() < 0.5 * before


def test_its_stamp_says_that_its_unit_is_not_ev(pretrained):
    _, stamp = load_with_stamp(pretrained.potential)
    assert stamp["kind"] == "potential"
    assert stamp["readout"] == "denoising"
    assert "not eV" in stamp["unit"]


def test_the_encoder_beside_it_has_the_same_weights_and_says_what_trained_its_readout(pretrained):
    encoder, stamp = load_with_stamp(pretrained.encoder)
    potential = load_model(pretrained.potential)
    assert stamp["readout"] == OUTPUT
    ours, theirs = encoder.state_dict(), potential.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("recipe", "readout"), [("derivative-denoising", OUTPUT), ("masked-atoms", "untrained")])
def test_megnet_exports_no_potential(tmp_path, recipe, readout):
    result = pretrain(
        model="MEGNet", model_args={**SMALL["MEGNet"], "nblocks": 2, "element_types": ELEMENTS}, recipe=recipe,
        data=strained_salts(6), out=tmp_path / "run", epochs=1, batch_size=4, accelerator="cpu",
    )  # fmt: skip
    assert result.potential is None
    assert not (tmp_path / "run" / "potential").exists()
    about = json.loads((result.encoder / "model.json").read_text())
    assert about["@class"] == "MEGNet"
    assert about["metadata"]["matgl_ssl"]["readout"] == readout


def test_a_masked_m3gnet_exports_no_potential_either(tmp_path):
    result = pretrain(
        model="M3GNet", model_args=ARGUMENTS, recipe="masked-atoms", data=strained_salts(6), out=tmp_path / "run",
        epochs=1, batch_size=4, accelerator="cpu",
    )  # fmt: skip
    assert result.potential is None
