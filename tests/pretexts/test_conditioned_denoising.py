"""Conditioned denoising: what the vector of the crystal at rest does to the prediction, by hand."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from small_systems import cscl, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import NOISE, NORMAL
from matgl_ssl.pretexts.conditioned_denoising import ConditionedDenoising
from matgl_ssl.pretexts.edge_head import atom_vectors
from matgl_ssl.testing import answer, view_batches

NAMES = ("M3GNet", "MEGNet")


def asked(name, **arguments):
    encoder = small_encoder(name)
    torch.manual_seed(0)
    pretext = ConditionedDenoising(encoder, **arguments).eval()
    torch.nn.init.normal_(pretext.head[-1].weight)
    return encoder, pretext, view_batches(pretext, encoder, [nacl(), skewed(), cscl()])


@pytest.mark.parametrize("name", NAMES)
def test_the_copy_at_rest_scales_and_shifts_the_hidden_layer_of_its_edges(name):
    encoder, pretext, batch = asked(name)
    displaced, rest = batch["displaced"], batch["at rest"]
    seen, mean = encoder(displaced), rest.mean_over_atoms(encoder(rest).node[-1]).detach().numpy()
    norm = (mean - mean.mean(1, keepdims=True)) / np.sqrt(mean.var(1, keepdims=True) + 1e-5)
    first, _, last = pretext.condition[1]
    hidden = norm @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    both = (hidden / (1 + np.exp(-hidden))) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    factor, summand = np.split(both, 2, axis=1)
    crystal = displaced.batch[displaced.edge_index[0]].numpy()
    nodes, edges = seen.node[-1].detach().numpy(), seen.edge[-1].detach().numpy()
    source, destination = displaced.edge_index.numpy()
    rows = np.concatenate([nodes[source], nodes[destination], edges], axis=1)
    first, _, last = pretext.head
    hidden = rows @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = hidden * (1 + factor[crystal]) + summand[crystal]
    scalars = torch.from_numpy((hidden / (1 + np.exp(-hidden))) @ last.weight.detach().numpy().T)
    predicted = atom_vectors(scalars, displaced).numpy()
    noise = displaced.atom[NOISE]
    target = -(noise - displaced.mean_over_atoms(noise)[displaced.batch]).numpy() / 0.04
    output = answer(pretext, encoder, batch)
    assert output.loss.item() == pytest.approx(float(((predicted - target) ** 2).mean()), rel=1e-3)
    assert output.metrics["baseline"].item() == pytest.approx(float((target**2).mean()), rel=1e-4)


def test_the_copies_differ_by_their_noises():
    *_, batch = asked("MEGNet", sigma=0.2, rest_sigma=0.01)
    assert batch["displaced"].atom[NOISE].std() == pytest.approx(0.2, rel=0.3)
    assert batch["at rest"].atom[NOISE].std() == pytest.approx(0.01, rel=0.3)


def test_the_condition_is_dropped_in_training_by_the_numbers_that_the_view_drew():
    encoder, pretext, batch = asked("MEGNet", drop=0.5)
    assert pretext.dropped_below == NormalDist().inv_cdf(0.5) == 0
    batch["at rest"].labels[NORMAL] = torch.tensor([[-1.0], [0.5], [-0.1]])
    with torch.no_grad():
        features = encoder(batch["at rest"])
        whole, _ = pretext.modulation(features, batch["at rest"])
        some, _ = pretext.train().modulation(features, batch["at rest"])
        nothing, _ = pretext.condition(pretext.nothing).chunk(2)
    assert torch.equal(some[1], whole[1])  # the second alone is kept
    torch.testing.assert_close(some[0], nothing)
    torch.testing.assert_close(some[2], nothing)
    assert not torch.allclose(whole[0], nothing)


@pytest.mark.parametrize("name", NAMES)
def test_the_vector_of_the_crystal_at_rest_is_trained(name):
    encoder, pretext, batch = asked(name)
    features = {key: encoder(part) for key, part in batch.items()}
    rest = features["at rest"].node[-1]
    rest.retain_grad()
    pretext(features, batch).loss.backward()
    assert float(rest.grad.abs().max()) > 0


def test_every_fifth_crystal_is_dropped():
    encoder = small_encoder("MEGNet")
    pretext = ConditionedDenoising(encoder)
    batch = view_batches(pretext, encoder, [rattled(cscl(), 0.01, seed=i) for i in range(400)])
    share = (batch["at rest"].labels[NORMAL] < pretext.dropped_below).double().mean()
    assert float(share) == pytest.approx(0.2, abs=0.08)
