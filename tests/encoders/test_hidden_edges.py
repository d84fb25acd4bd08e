"""Edges whose length and direction are hidden from the encoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import NAMES, make_batch, rattled, skewed, small_encoder

from matgl_ssl.backends import HIDDEN
from matgl_ssl.errors import ModelError


def hidden(encoder, crystal, atom):
    batch = make_batch(encoder, [crystal])
    batch.edge[HIDDEN] = (batch.edge_index == atom).any(0)
    return batch


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_hidden_edge_shows(name):
    encoder = small_encoder(name)
    batch = hidden(encoder, skewed(), atom=0)
    moved = dataclasses.replace(batch, frac_coords=batch.frac_coords.clone())
    moved.frac_coords[0] += 0.04
    before, after = encoder(batch), encoder(moved)
    torch.testing.assert_close(before.node[-1], after.node[-1], rtol=1e-4, atol=1e-5)
    moved.edge.clear()
    batch.edge.clear()
    assert (encoder(batch).node[-1] - encoder(moved).node[-1]).detach().abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_hidden_edges_still_carry_messages(name):
    encoder = small_encoder(name)
    crystal = skewed()
    other = dataclasses.replace(crystal, numbers=crystal.numbers.copy())
    other.numbers[1] = 26
    vectors = [encoder(hidden(encoder, c, atom=0)).node[1][0] for c in (crystal, other)]
    assert (vectors[0] - vectors[1]).detach().abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_features_turn_with_nothing_where_edges_are_hidden(name):
    encoder = small_encoder(name)
    crystal = rattled(skewed())
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = dataclasses.replace(crystal, lattice=crystal.lattice @ rotation)
    before, after = (encoder(hidden(encoder, c, atom=0)).node for c in (crystal, turned))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_no_hidden_edge_is_the_crystal_itself():
    encoder = small_encoder("M3GNet")
    batch = hidden(encoder, rattled(skewed()), atom=0)
    batch.edge[HIDDEN][:] = False
    plain = make_batch(encoder, [rattled(skewed())])
    torch.testing.assert_close(encoder(batch).node[-1], encoder(plain).node[-1], rtol=1e-4, atol=1e-5)


def test_forces_are_refused():
    encoder = small_encoder("M3GNet", is_intensive=False)
    with pytest.raises(ModelError, match="hides"):
        encoder(hidden(encoder, skewed(), atom=0), forces=True)
