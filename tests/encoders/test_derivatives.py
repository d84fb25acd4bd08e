"""Forces and stresses are the derivatives of the output, and obey what derivatives of an energy obey."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import cscl, double, iron, make_batch, nacl, skewed, small_encoder, supercell

from matgl_ssl._backend import BACKEND
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder, is_extensive

MODELS = {"M3GNet": {"is_intensive": False}, "MEGNet": {}}
if BACKEND == "pyg":
    MODELS["TensorNet"] = {"is_intensive": False}
else:  # below the cutoff, M3GNet mixes up bonds there (see tests/backends/test_dgl_backend.py)
    MODELS["M3GNet"]["threebody_cutoff"] = 5.0
GPA = 160.21766208  # GPa in eV/Å^3, MatGL's figure


@pytest.fixture(params=MODELS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return small_encoder(request.param, **MODELS[request.param]).double()


def energies(encoder: Encoder, batch) -> torch.Tensor:
    """The output, times the number of atoms if it does not grow with the cell."""
    with torch.no_grad():
        output = encoder(batch).output
    return output if is_extensive(encoder.model) else output * batch.n_atoms


def test_forces_are_central_differences_of_the_energy(encoder):
    crystal, step = skewed(), 1e-4
    forces = encoder(double(encoder, [crystal, cscl()]), forces=True).forces[:6]
    assert forces.dtype == torch.float64
    coordinates = [(atom, axis) for atom in range(6) for axis in range(3)]
    copies = []
    for sign in (1, -1):
        for atom, axis in coordinates:
            cart = crystal.cart_coords
            cart[atom, axis] += sign * step
            copies.append(dataclasses.replace(crystal, frac_coords=cart @ np.linalg.inv(crystal.lattice)))
    up, down = energies(encoder, double(encoder, copies)).chunk(2)
    numeric = -(up - down).reshape(6, 3) / (2 * step)
    assert numeric.abs().max() > 1e-3
    assert torch.linalg.norm(forces - numeric) <= 1e-4 * torch.linalg.norm(numeric)


def test_stresses_are_strain_derivatives_of_the_energy_over_the_volume(encoder):
    crystal, step = skewed(), 1e-5
    stress = encoder(double(encoder, [cscl(), crystal]), stresses=True).stresses
    assert stress.shape == (2, 3, 3)
    stress = stress[1]
    copies = []
    for sign in (1, -1):
        for i in range(3):
            for j in range(3):
                strain = np.eye(3)
                strain[i, j] += sign * step
                copies.append(dataclasses.replace(crystal, lattice=crystal.lattice @ strain))
    up, down = energies(encoder, double(encoder, copies)).chunk(2)
    numeric = (up - down).reshape(3, 3) / (2 * step) * GPA / crystal.volume
    assert torch.linalg.norm(stress - numeric) <= 1e-3 * torch.linalg.norm(numeric)
    assert torch.linalg.norm(stress - stress.T) <= 1e-6 * torch.linalg.norm(stress)  # no torque on a crystal


def test_forces_of_each_crystal_sum_to_zero(encoder):
    batch = double(encoder, [skewed(), nacl()])
    forces = encoder(batch, forces=True).forces
    totals = torch.stack([part.sum(0) for part in forces.split(batch.n_atoms.tolist())])
    assert totals.abs().max() <= 1e-8 * forces.abs().max()


def test_an_atom_alone_in_its_cell_feels_no_force(encoder):
    assert encoder(double(encoder, [iron()]), forces=True).forces.abs().max() < 1e-10


def test_forces_do_not_shrink_with_the_cell(encoder):
    """Also for an intensive output: it is differentiated times the number of atoms."""
    crystal = skewed()
    one = encoder(double(encoder, [crystal]), forces=True).forces
    many = encoder(double(encoder, [supercell(crystal, (2, 1, 1))]), forces=True).forces
    assert one.abs().max() > 1e-5
    torch.testing.assert_close(many, one.repeat(2, 1), rtol=1e-6, atol=1e-9)


def test_forces_turn_with_the_crystal(encoder):
    crystal = skewed()
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    turned = Crystal(crystal.numbers, crystal.frac_coords, crystal.lattice @ rotation)
    first, second = (encoder(double(encoder, [c]), forces=True).forces for c in (crystal, turned))
    assert torch.linalg.norm(second - first @ torch.from_numpy(rotation)) <= 1e-5 * torch.linalg.norm(first)


def test_the_output_beside_forces_is_the_models_own(encoder):
    batch = double(encoder, [skewed(), nacl()])
    torch.testing.assert_close(encoder(batch, forces=True).output, encoder(batch).output)


def test_features_beside_forces_are_those_without(encoder):
    batch = double(encoder, [skewed(), nacl()])
    plain, derived = encoder(batch), encoder(batch, forces=True)
    for one, other in zip(plain.node, derived.node, strict=True):
        torch.testing.assert_close(one, other)
    assert plain.forces is None
    assert plain.stresses is None
    assert derived.stresses is None


def test_forces_come_also_where_gradients_are_switched_off(encoder):
    batch = double(encoder, [skewed()])
    expected = encoder(batch, forces=True).forces
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch, forces=True).forces, expected)


def test_a_loss_on_forces_reaches_the_weights(encoder):
    encoder = encoder.float().train()
    encoder(make_batch(encoder, [skewed(), nacl()]), forces=True).forces.pow(2).mean().backward()
    embedding = encoder.model.get_submodule(encoder.architecture.element_embedding).weight.grad
    assert embedding.abs().sum() > 0
    assert torch.isfinite(embedding).all()


def test_training_mode_is_kept_by_the_derivative_path(encoder):
    batch = double(encoder, [nacl()])
    encoder.train()
    encoder(batch, forces=True)
    assert encoder.training
    assert all(m.training for m in encoder.modules())
    encoder.eval()
    encoder(batch, forces=True)
    assert not any(m.training for m in encoder.modules())
