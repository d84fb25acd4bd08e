"""Copies among atoms and edges: which they are, and that computing one of each changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import double, from_spacegroup, iron, make_batch, rattled, skewed, small_encoder, supercell

from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import MASK
from matgl_ssl.crystals import Crystal

pytestmark = pytest.mark.pyg


def rocksalt():
    return from_spacegroup("Fm-3m", 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def fluorite():
    return from_spacegroup("Fm-3m", 5.47, ["U", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])


def molecule(around):
    """Silicon amid oxygen, in a cell so large that nothing else is near."""
    side = 30.0
    positions = np.concatenate([np.zeros((1, 3)), np.asarray(around, dtype=float)])
    return Crystal(np.array([14] + [8] * len(around)), positions / side, side * np.eye(3), id="molecule")


SYMMETRIC = {
    "cells": [rocksalt(), iron(), fluorite()],
    "a cell and its double": [fluorite(), supercell(fluorite(), (2, 1, 1))],
}


def found(encoder, batch, n_rounds=3, **changes):
    """What is equal in a batch, for an encoder's layer 0."""
    from matgl_ssl.acceleration.equivalence import equivalence

    atoms = encoder.model.embedding.layer_node_embedding(batch.node_type)
    lengths = changes.get("lengths", batch.edge_vectors().norm(dim=1))
    kinds = torch.stack([batch.node_type, batch.batch])
    return equivalence(changes.get("atoms", atoms), kinds, batch.edge_index, lengths, n_rounds)


@pytest.fixture
def encoder():
    return small_encoder("MEGNet")


def test_atoms_and_edges_that_symmetry_makes_equal_are_one(encoder):
    batch = make_batch(encoder, [supercell(rocksalt(), (2, 2, 1))])
    same = found(encoder, batch)
    species = batch.node_type
    assert len(same.atoms.one) == 2
    assert all(len(set(species[same.atoms.of == k].tolist())) == 1 for k in range(2))
    lengths = batch.edge_vectors().norm(dim=1)
    shells = {(int(species[s]), round(float(r), 3)) for s, r in zip(batch.edge_index[0], lengths, strict=True)}
    assert len(same.edges.one) == len(shells)
    assert torch.equal(same.times.sum(), lengths.new_tensor(2 * batch.n_edges.item() / batch.n_atoms.item()))


def test_rows_of_all_are_those_of_one_of_each(encoder):
    same = found(encoder, make_batch(encoder, [rocksalt()]))
    rows = torch.rand(len(same.edges.one), 4)
    everything = same.edges.to_all(rows)
    assert torch.equal(everything[same.edges.one], rows)
    assert same.edges.one_of_each(everything) is rows
    assert torch.equal(same.edges.one_of_each(everything.clone()), rows)


def test_edges_too_long_for_angles_are_told_apart_by_their_lengths(monkeypatch):
    encoder = small_encoder("M3GNet", threebody_cutoff=2.0)
    accelerate(encoder.model)
    used = spied("M3GNet", monkeypatch)
    batch = make_batch(encoder, [rocksalt()])
    encoder(batch)
    assert len(used[-1].edges.one) == len(found(encoder, batch).edges.one)  # the self-check came before


def test_crystals_are_never_one(encoder):
    """Their states differ: each is a crystal of its own."""
    twice = found(encoder, make_batch(encoder, [rocksalt(), rocksalt()]))
    once = found(encoder, make_batch(encoder, [rocksalt()]))
    assert len(twice.atoms.one) == 2 * len(once.atoms.one)


def test_perturbed_crystals_have_no_copies(encoder):
    assert found(encoder, make_batch(encoder, [rattled(supercell(rocksalt(), (2, 1, 1)))])) is None


def test_what_hides_an_atom_tells_its_neighbours_apart(encoder):
    batch = make_batch(encoder, [supercell(rocksalt(), (2, 2, 2))])
    atoms = encoder.model.embedding.layer_node_embedding(batch.node_type).detach().clone()
    whole = found(encoder, batch)
    atoms[0] = encoder.mask_token.detach()
    same = found(encoder, batch, atoms=atoms)
    assert len(same.atoms.one) > len(whole.atoms.one)
    assert same.atoms.size[same.atoms.of[0]] == 1


def test_equal_vectors_of_two_elements_are_not_one(encoder):
    """Their gradients are two."""
    batch = make_batch(encoder, [rocksalt()])
    assert len(found(encoder, batch, atoms=torch.ones(len(batch.node_type), 4)).atoms.one) == 2


def test_nan_equals_nothing(encoder):
    batch = make_batch(encoder, [rocksalt()])
    lengths = batch.edge_vectors().norm(dim=1)
    lengths[:2] = torch.nan
    same = found(encoder, batch, lengths=lengths)
    assert same is None or all(same.edges.size[same.edges.of[:2]] == 1)


def test_many_small_steps_are_a_large_one(encoder):
    """No length of a class is far from another, however close each is to the next."""
    batch = make_batch(encoder, [rocksalt()])
    lengths = batch.edge_vectors().norm(dim=1)
    lengths = lengths.mean() + 1e-5 * torch.arange(len(lengths))
    same = found(encoder, batch, lengths=lengths, n_rounds=0)
    spans = [np.ptp(lengths[same.edges.of == k].numpy()) for k in range(len(same.edges.one))]
    assert 1e-5 < max(spans) < 1e-4


def test_no_edges_are_no_copies(encoder):
    batch = make_batch(encoder, [iron()])
    batch.edge_index, batch.pbc_offset = batch.edge_index[:, :0], batch.pbc_offset[:0]
    assert found(encoder, batch) is None


def everything(encoder, batch):
    """Output, all features, and the gradients of a loss on all of them."""
    encoder.zero_grad()
    features = encoder.train()(batch)
    values = {"output": features.output, "readout": features.readout}
    for kind, layers in (("node", features.node), ("edge", features.edge), ("state", features.state)):
        values |= {f"{kind} {k}": x for k, x in enumerate(layers)}
    values = {name: value for name, value in values.items() if value is not None}
    generator = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in values.values())
    loss.backward()
    values |= {f"d {name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {name: value.detach().clone() for name, value in values.items()}


MODELS = {
    "MEGNet": ("MEGNet", {}),
    "MEGNet of one block": ("MEGNet", {"nblocks": 1}),
    "M3GNet": ("M3GNet", {}),
    "M3GNet of set2set": ("M3GNet", {"readout_type": "set2set"}),
    "M3GNet of higher angles": ("M3GNet", {"max_l": 4, "nblocks": 3}),
    "smooth M3GNet of a sum": ("M3GNet", {"use_smooth": True, "is_intensive": False}),
}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("crystals", [*SYMMETRIC, "and a rattled one"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("make", "tolerance"), [(make_batch, 1e-4), (double, 1e-10)])
def test_features_outputs_and_gradients_are_those_of_the_plain_model(
    crystals, model, make, tolerance, hidden, monkeypatch
):
    name, changes = MODELS[model]
    encoder = small_encoder(name, **changes)
    encoder = encoder.double() if make is double else encoder
    batch = make(encoder, SYMMETRIC.get(crystals) or [*SYMMETRIC["cells"], rattled(skewed())])
    if hidden:
        batch.atom[MASK] = torch.arange(len(batch.node_type)) == 0
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    used = spied(name, monkeypatch)
    got = everything(encoder, batch)
    assert used
    assert hidden or used[0] is not None
    assert got.keys() == expected.keys()
    largest = max(float(v.norm()) for k, v in expected.items() if k.startswith("d "))
    for key, value in expected.items():
        floor = 1e-3 * largest if key.startswith("d ") else 1e-6
        assert float((got[key] - value).norm()) <= tolerance * max(float(value.norm()), floor), key


def spied(name, monkeypatch):
    """What is found equal from now on."""
    from matgl_ssl.acceleration import m3gnet, megnet

    module = {"M3GNet": m3gnet, "MEGNet": megnet}[name]
    used, real = [], module.equivalence
    monkeypatch.setattr(module, "equivalence", lambda *args: used.append(real(*args)) or used[-1])
    return used


def test_angles_tell_edges_apart(monkeypatch):
    """A T of three equal bonds: lengths alone cannot tell the stem from the bar."""
    encoder = small_encoder("M3GNet", cutoff=2.5, threebody_cutoff=2.2)
    batch = make_batch(encoder, [molecule([[2.0, 0, 0], [-2.0, 0, 0], [0, 2.0, 0]])])
    monkeypatch.setattr("matgl_ssl.acceleration.equivalence._WORTH", 2.0)
    by_length = found(encoder, batch).edges.of[batch.edge_index[0] == 0]
    assert len(set(by_length.tolist())) == 1
    accelerate(encoder.model)
    used = spied("M3GNet", monkeypatch)
    encoder(batch)
    first, second = batch.edge_index
    bar, other_bar, stem = (used[0].edges.of[(first == 0) & (second == k)] for k in (1, 2, 3))
    assert bar == other_bar
    assert bar != stem


def test_the_edges_of_each_class_are_those_of_its_first_atom(monkeypatch):
    """M3GNet's angles are those around one atom of each class."""
    encoder = small_encoder("M3GNet")
    accelerate(encoder.model)
    used = spied("M3GNet", monkeypatch)
    batch = make_batch(encoder, SYMMETRIC["a cell and its double"])
    encoder(batch)
    (same,) = used
    assert torch.equal(batch.edge_index[0][same.edges.one], same.atoms.one[same.edge_index[0]])


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_dropout_and_forces_tell_copies_apart(name, monkeypatch):
    dropout, plain = small_encoder(name, dropout=0.5), small_encoder(name)
    accelerate(dropout.model)
    accelerate(plain.model)
    used = spied(name, monkeypatch)
    dropout.train()(make_batch(dropout, [rocksalt()]))
    plain(make_batch(plain, [rocksalt()]), forces=True)
    assert not used
    plain(make_batch(plain, [rocksalt()]))
    assert used
