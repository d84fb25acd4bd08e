"""Direct denoising, and what it shares with denoising through an energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import SMALL, cscl, double, iron, nacl, rattled, skewed, small_encoder, supercell

from matgl_ssl.backends import NOISE, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts.derivative_denoising import DerivativeDenoising
from matgl_ssl.pretexts.direct_denoising import DirectDenoising
from matgl_ssl.views import sample_generator

NAMES = ("M3GNet", "MEGNet")
# With a shorter three-body cutoff, MatGL 2.2's M3GNet takes wrong bonds, whose vectors depend on cell and orientation.
SOUND = {"M3GNet": {"threebody_cutoff": 5.0}, "MEGNet": {}}


def make(encoder, view, crystals):
    build = encoder.graph_builder()
    graphs = []
    for sample, crystal in enumerate(crystals):
        rng = sample_generator(0, 0, sample, view.stream)
        graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
    return collate(graphs)


def ask(pretext, encoder, crystals):
    batch = make(encoder, pretext.views["displaced"], crystals)
    features = encoder(batch, forces=bool(pretext.forces))
    return pretext({"displaced": features}, {"displaced": batch}), batch


def with_random_head(encoder) -> DirectDenoising:
    torch.manual_seed(0)
    pretext = DirectDenoising(encoder)
    torch.nn.init.normal_(pretext.head[-1].weight)
    return pretext.to(encoder.dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_it_is_a_sum_of_unit_vectors_along_the_edges_against_the_noise(name, loss):
    encoder = small_encoder(name)
    pretext = DirectDenoising(encoder, loss=loss)
    torch.nn.init.normal_(pretext.head[-1].weight)
    output, batch = ask(pretext, encoder, [nacl(), skewed()])
    features = encoder(batch)
    nodes, edges = features.node[-1].detach().numpy(), features.edge[-1].detach().numpy()
    first, _, last = (layer for layer in pretext.head)
    weights = [p.detach().numpy() for p in (first.weight, first.bias, last.weight, last.bias)]
    predicted = np.zeros((14, 3))
    cells = np.repeat([nacl().lattice, skewed().lattice], [8, 6], axis=0)
    positions = np.einsum("ni,nij->nj", batch.frac_coords.numpy(), cells)
    for e, (i, j) in enumerate(batch.edge_index.T.tolist()):
        vector = positions[j] + batch.pbc_offset[e].numpy() @ cells[i] - positions[i]
        hidden = weights[0] @ np.concatenate([nodes[i], nodes[j], edges[e]]) + weights[1]
        scalar = weights[2] @ (hidden / (1 + np.exp(-hidden))) + weights[3]
        predicted[i] += scalar * vector / np.linalg.norm(vector)
    noise = np.concatenate([n - n.mean(0) for n in np.split(batch.atom[NOISE].numpy(), [8])])
    norm = {"mae": np.abs, "mse": np.square}[loss]
    assert output.loss.item() == pytest.approx(norm(predicted + noise).mean(), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_rotating_the_crystal_rotates_the_prediction(name):
    encoder = small_encoder(name, **SOUND[name]).double()
    pretext = with_random_head(encoder)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    crystal = rattled(skewed(), 0.1)
    turned = Crystal(crystal.numbers, crystal.frac_coords, crystal.lattice @ rotation)
    vectors = []
    for c in (crystal, turned):
        batch = double(encoder, [c])
        vectors.append(pretext.predict(encoder(batch), batch).detach().numpy())
    assert np.abs(vectors[0]).max() > 0.1
    np.testing.assert_allclose(vectors[1], vectors[0] @ rotation, atol=1e-6 * np.abs(vectors[0]).max())
    # Forces sum to zero over a crystal; these do not.
    assert np.abs(vectors[0].sum(0)).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_supercell_has_the_same_vectors_if_the_state_of_the_cell_is(name):
    encoder = small_encoder(name, **SOUND[name]).double()
    pretext = with_random_head(encoder)
    big = supercell(skewed(), (2, 1, 1))
    one, two = (pretext.predict(encoder(b), b) for b in (double(encoder, [skewed()]), double(encoder, [big])))
    torch.testing.assert_close(two, one.repeat(2, 1), rtol=1e-5, atol=1e-5 * float(one.detach().abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_training_starts_at_the_mean_noise_component(name):
    encoder = small_encoder(name)
    output, batch = ask(DirectDenoising(encoder, remove_com=False), encoder, [nacl(), skewed(), cscl(), iron()])
    assert output.loss.item() == pytest.approx(float(batch.atom[NOISE].abs().mean()), rel=1e-6)


@pytest.mark.parametrize(("name", "arguments"), [("M3GNet", {"is_intensive": False}), ("MEGNet", {})])
def test_so_does_denoising_through_an_energy(name, arguments):
    torch.manual_seed(0)
    encoder = Encoder(new_model(name, {**SMALL[name], **arguments}))
    output, batch = ask(DerivativeDenoising(encoder, remove_com=False), encoder, [nacl(), skewed(), cscl()] * 4)
    assert output.loss.item() == pytest.approx(float(batch.atom[NOISE].abs().mean()), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_one_atom_teach_nothing(name):
    encoder = small_encoder(name, **SOUND[name]).train()
    pretext = with_random_head(encoder)
    output, _ = ask(pretext, encoder, [iron(), iron()])
    assert output.loss.item() < 1e-5
    assert float(output.metrics["baseline"]) < 1e-7
    batch = double(encoder.double(), [iron()])
    prediction = pretext.double().predict(encoder(batch), batch)
    prediction.square().sum().backward()
    assert max(float(p.grad.abs().max()) for p in encoder.parameters() if p.grad is not None) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_learned(name):
    encoder = small_encoder(name).train()
    torch.manual_seed(0)
    pretext = DirectDenoising(encoder)
    batch = make(encoder, pretext.views["displaced"], [nacl(), cscl(), skewed()])
    optimizer = torch.optim.Adam([*encoder.parameters(), *pretext.parameters()], lr=0.005)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        output = pretext({"displaced": encoder(batch)}, {"displaced": batch})
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.5 * losses[0]
