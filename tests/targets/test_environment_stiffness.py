"""Environment-dependent stiffness against finite differences of the potential's forces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import iron, nacl, rattled, skewed, small_model, supercell

from matgl_ssl.backends import Potential, backend, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.errors import ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.targets import with_targets
from matgl_ssl.targets.environment_stiffness import EnvironmentStiffness, stiffnesses

# Equal cutoffs: with others, MatGL 2.2's three-body terms depend on the cell (docs/architecture.md).
ARGUMENTS = {"is_intensive": False, "cutoff": 4.0, "threebody_cutoff": 4.0}


@pytest.fixture(scope="module")
def potential():
    return Potential(small_model("M3GNet", **ARGUMENTS)).eval()


@pytest.fixture(scope="module")
def saved(potential, tmp_path_factory):
    return save_model(
        potential, tmp_path_factory.mktemp("potential") / "potential", kind="potential", readout="trained"
    )


def forces(potential, crystal, shift, atom, axis):
    """In float64, with the edges of the crystal at rest (what a derivative is taken on)."""
    build = GraphBuilder(tuple(potential.model.element_types), 4.0)
    batch = collate([build(crystal)]).to("cpu", torch.float64)
    moved = crystal.cart_coords
    moved[atom, axis] += shift
    batch.frac_coords = torch.from_numpy(moved @ np.linalg.inv(crystal.lattice))
    batch.lattice = torch.from_numpy(crystal.lattice)[None]
    return backend.run_potential(potential, batch, torch.zeros(1, 2, dtype=torch.float64))[1].detach().numpy()


@pytest.mark.parametrize("crystal", [nacl(), skewed()], ids=lambda c: c.id)
def test_it_is_the_derivative_of_the_forces(crystal):
    potential = Potential(small_model("M3GNet", **ARGUMENTS)).double().eval()
    (stiffness,) = stiffnesses(potential, [crystal])
    step = 1e-4
    for atom in (0, len(crystal) - 1):
        differences = [
            -(forces(potential, crystal, step, atom, a) - forces(potential, crystal, -step, atom, a))[atom, a]
            / (2 * step)
            for a in range(3)
        ]
        assert stiffness[atom] == pytest.approx(np.mean(differences), rel=1e-4)
    assert np.abs(stiffness).max() > 1e-3


def test_company_order_and_place_do_not_matter(potential):
    crystal = rattled(skewed(), 0.1)
    order = np.array([3, 1, 5, 0, 2, 4])
    moved = Crystal(crystal.numbers[order], crystal.frac_coords[order] + 0.3, crystal.lattice)
    alone, (_, together, permuted) = (
        stiffnesses(potential, [crystal])[0],
        stiffnesses(potential, [nacl(), crystal, moved]),
    )
    scale = np.abs(alone).max()
    assert np.abs(together - alone).max() < 1e-4 * scale
    assert np.abs(permuted - alone[order]).max() < 1e-4 * scale


def test_an_image_is_another_atom(potential):
    """In a supercell the images stay where they are; in a one-atom cell they move along, and nothing is felt."""
    one, many = stiffnesses(potential, [iron(), supercell(iron(), (2, 2, 2))])
    assert np.abs(one).max() < 1e-4 * np.abs(many).max()
    assert np.ptp(many) < 1e-3 * np.abs(many).max()


def test_the_cell_that_a_crystal_is_given_in_does_not_matter(saved):
    target, crystal = EnvironmentStiffness(potential=str(saved)), rattled(skewed(), 0.1)
    alone, doubled = target.of_many([crystal, supercell(crystal, (1, 2, 1))])
    assert doubled == pytest.approx(np.tile(alone, (2, 1)), abs=1e-4 * np.abs(alone).max())


def test_it_is_stored_with_the_crystals(saved):
    target = EnvironmentStiffness(potential=str(saved))
    unknown = Crystal(np.array([79]), np.zeros((1, 3)), 2.9 * np.eye(3), id="gold")
    table = with_targets(CrystalDataset.from_crystals([nacl(), unknown, skewed()]), [target])
    expected = stiffnesses(Potential(small_model("M3GNet", **ARGUMENTS)).eval(), [skewed()])[0]
    assert np.abs(table[2].labels[target.column][:, 0] - expected).max() < 1e-4 * np.abs(expected).max()
    assert table[0].labels[target.column].shape == (8, 1)
    assert np.isnan(table[1].labels[target.column]).all()


def test_only_a_potential_has_one(tmp_path):
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained")
    with pytest.raises(ModelError, match="not a potential"):
        EnvironmentStiffness(potential=str(path))(nacl())
