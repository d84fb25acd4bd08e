"""Structure denoising: losses by hand, strain as a tensor that turns with the crystal, and what a head can express."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import cscl, double, iron, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import MASK, NOISE, STRAIN
from matgl_ssl.crystals import Crystal
from matgl_ssl.pretexts.edge_head import atom_vectors, crystal_tensors
from matgl_ssl.pretexts.structure_denoising import StructureDenoising
from matgl_ssl.testing import answer, losses_while_learning, view_batches
from matgl_ssl.views import StrainLattice, sample_generator

NAMES = ("M3GNet", "MEGNet")
# With a shorter three-body cutoff, MatGL 2.2's M3GNet takes wrong bonds, whose vectors depend on cell and orientation.
SOUND = {"M3GNet": {"threebody_cutoff": 5.0}, "MEGNet": {}}


def made(name):
    encoder = small_encoder(name, **SOUND[name])
    torch.manual_seed(0)
    pretext = StructureDenoising(encoder)
    for head in (pretext.positions, pretext.lattice):
        torch.nn.init.normal_(head[-1].weight)
    return encoder, pretext


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_sum_of_three_losses(name):
    encoder, pretext = made(name)
    batch = view_batches(pretext, encoder, [nacl(), skewed(), iron()])
    crystals = batch["disturbed"]
    output, seen = answer(pretext, encoder, batch), encoder(crystals)
    mask = crystals.atom[MASK]
    assert 0 < int(mask.sum()) < 15
    assert not bool(mask[-1])  # of the cell of one atom
    logits = pretext.elements(seen.node[-1][mask]).detach().double().numpy()
    right = logits[np.arange(len(logits)), crystals.node_type[mask].numpy()]
    entropy = (np.log(np.exp(logits).sum(1)) - right).mean()
    noise = crystals.atom[NOISE].double().numpy()
    noise -= np.concatenate([np.tile(n.mean(0), (len(n), 1)) for n in np.split(noise, [8, 14])])
    moved = atom_vectors(pretext.positions(seen, crystals), crystals).detach().double().numpy()
    strained = crystal_tensors(pretext.lattice(seen, crystals), crystals).detach().double().numpy()
    positions = np.abs(moved + noise / 0.1).mean()
    lattice = np.abs(strained + crystals.labels[STRAIN].numpy() / 0.03).mean()
    assert output.loss.item() == pytest.approx(entropy + positions + lattice, rel=1e-4)
    assert output.metrics["atoms_loss"].item() == pytest.approx(entropy, rel=1e-4)
    assert output.metrics["positions_loss"].item() == pytest.approx(positions, rel=1e-4)
    assert output.metrics["lattice_loss"].item() == pytest.approx(lattice, rel=1e-4)


def test_the_tensor_is_three_times_the_mean_over_edges_of_numbers_times_directions():
    encoder = small_encoder("MEGNet")
    batch = double(encoder, [cscl(), skewed()])
    scalars = torch.from_numpy(np.random.default_rng(0).normal(size=(batch.edge_index.shape[1], 1)))
    found = crystal_tensors(scalars, batch).numpy()
    vectors = batch.edge_vectors().numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owner = batch.batch[batch.edge_index[0]].numpy()
    for i in range(2):
        mean = np.mean(
            [s * np.outer(n, n) for s, n in zip(scalars.numpy()[owner == i, 0], vectors[owner == i], strict=True)], 0
        )
        np.testing.assert_allclose(found[i], 3 * mean, atol=1e-12)
    identity = crystal_tensors(torch.ones_like(scalars), batch)[
        0
    ]  # the edges of a cubic crystal point everywhere alike
    np.testing.assert_allclose(identity.numpy(), np.eye(3), atol=1e-6)


def test_the_strain_that_is_written_down_is_the_lattices():
    view = StrainLattice(sigma=0.1)
    strained = view.on_crystal(skewed(), sample_generator(0, 0, 0, view.stream))
    deformation = np.linalg.inv(skewed().lattice) @ strained.lattice
    values, axes = np.linalg.eigh(deformation)
    np.testing.assert_allclose(strained.labels[STRAIN], (axes * np.log(values)) @ axes.T, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_rotating_the_crystal_rotates_the_strain(name):
    encoder, pretext = made(name)
    encoder, pretext = encoder.double(), pretext.double()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    crystal = rattled(skewed(), 0.1)
    found = []
    for lattice in (crystal.lattice, crystal.lattice @ rotation):
        batch = double(encoder, [Crystal(crystal.numbers, crystal.frac_coords, lattice)])
        found.append(crystal_tensors(pretext.lattice(encoder(batch), batch), batch)[0].detach().numpy())
    assert np.abs(found[0] - np.trace(found[0]) / 3 * np.eye(3)).max() > 1e-3
    np.testing.assert_allclose(found[1], rotation.T @ found[0] @ rotation, atol=1e-6 * np.abs(found[0]).max())


def test_training_starts_at_the_noise_and_can_be_learned():
    encoder = small_encoder("M3GNet")
    torch.manual_seed(0)
    pretext = StructureDenoising(encoder)
    crystals = [nacl(), cscl(), skewed()]
    first = answer(pretext, encoder, view_batches(pretext, encoder, crystals)).metrics
    for name in ("positions", "lattice"):
        assert first[f"{name}_loss"].item() == pytest.approx(first[f"{name}_baseline"].item())
    losses = losses_while_learning(pretext, encoder, crystals, steps=80)
    assert losses[-1] < 0.5 * losses[0]
