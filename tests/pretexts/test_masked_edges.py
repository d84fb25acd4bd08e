"""Masked edges: the bonds it asks about, their classes, and that the answer is nowhere to be seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import cscl, iron, nacl, rattled, skewed, small_encoder, supercell

from matgl_ssl.backends import HIDDEN, MASK, collate
from matgl_ssl.pretexts import Mixture
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.pretexts.masked_edges import MaskedEdges
from matgl_ssl.testing import answer, assert_two_processes_agree, losses_while_learning, view_batches

NAMES = ("M3GNet", "MEGNet")
CRYSTALS = [nacl(), cscl(), skewed(), rattled(skewed(), 0.1, seed=4), rattled(nacl(), 0.1, seed=5)]


def bonds(batch, cutoff) -> list[tuple[int, int, float]]:
    """Undirected edges that touch a masked atom, from the crystals' own geometry and by brute force."""
    mask, first, found = batch.atom[MASK].tolist(), 0, []
    for n, lattice, frac in zip(
        batch.n_atoms.tolist(), batch.lattice.double(), batch.frac_coords.split(batch.n_atoms.tolist()), strict=True
    ):
        images = np.array(list(np.ndindex(7, 7, 7))) - 3
        for i in range(n):
            for j in range(i, n):
                steps = (frac[j] - frac[i]).double().numpy() + images
                lengths = np.linalg.norm(steps @ lattice.numpy(), axis=1)
                lengths = lengths[(lengths < cutoff) & (lengths > 1e-6)]
                # Between images of one atom, every vector comes with its opposite.
                lengths = np.sort(lengths)[:: 2 if i == j else 1]
                if mask[first + i] or mask[first + j]:
                    found += [(first + i, first + j, float(d)) for d in lengths]
        first += n
    return found


@pytest.mark.parametrize("distances", ["hidden", "visible"])
@pytest.mark.parametrize("name", NAMES)
def test_every_bond_of_a_masked_atom_is_classified_once(name, distances):
    encoder = small_encoder(name)
    pretext = MaskedEdges(encoder, distances=distances)
    batch = view_batches(pretext, encoder, [skewed(), iron(), rattled(skewed(), 0.1, seed=4)])
    vectors = encoder(batch["masked"]).node[-1].detach().double()
    weight, bias = pretext.head.weight.detach().double(), pretext.head.bias.detach().double()
    n_bins = {"M3GNet": 26, "MEGNet": 21}[name] if encoder.cutoff in (4.0, 5.0) else round(encoder.cutoff / 0.2) + 1
    assert weight.shape[0] == n_bins
    losses, hits = [], []
    for i, j, length in bonds(batch["masked"], encoder.cutoff):
        logits = (weight @ (vectors[i] + vectors[j]) + bias).numpy()
        label = int(np.abs(0.2 * np.arange(n_bins) - length).argmin())
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
        hits.append(logits.argmax() == label)
    output = answer(pretext, encoder, batch)
    assert len(losses) > 20
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(output.metrics["accuracy"]) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize(("name", "n_bins"), [("M3GNet", 26), ("MEGNet", 21)])
def test_classes_reach_to_the_cutoff(name, n_bins):
    encoder = small_encoder(name, cutoff={"M3GNet": 5.0, "MEGNet": 4.0}[name])
    assert MaskedEdges(encoder).head.out_features == n_bins


def logits(pretext, encoder, batch):
    seen = []
    handle = pretext.head.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    answer(pretext, encoder, {"masked": batch})
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_hidden_lengths_do_not_leak(name):
    encoder = small_encoder(name).double()
    for distances, same in (("hidden", True), ("visible", False)):
        pretext = MaskedEdges(encoder, distances=distances).double()
        batch = view_batches(pretext, encoder, CRYSTALS)["masked"].to("cpu", torch.float64)
        moved = dataclasses.replace(batch, frac_coords=batch.frac_coords.clone())
        moved.frac_coords[batch.atom[MASK]] += 0.05
        change = (logits(pretext, encoder, batch) - logits(pretext, encoder, moved)).abs().max()
        assert (float(change) < 1e-9) is same, float(change)
        assert HIDDEN in batch.edge if same else HIDDEN not in batch.edge


def test_the_targets_are_the_true_lengths_while_the_encoder_sees_none():
    encoder = small_encoder("M3GNet")
    pretext = MaskedEdges(encoder)
    batch = view_batches(pretext, encoder, [skewed()])
    lengths = batch["masked"].edge_vectors().norm(dim=1)
    encoder(batch["masked"])
    torch.testing.assert_close(batch["masked"].edge_vectors().norm(dim=1), lengths)
    assert len(lengths[batch["masked"].edge[HIDDEN]].unique()) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_supercell_masked_alike_gives_the_same_loss(name):
    encoder = small_encoder(name, **({"threebody_cutoff": 5.0} if name == "M3GNet" else {}))
    pretext = MaskedEdges(encoder)
    build = encoder.graph_builder()
    losses = []
    for repeats in ((1, 1, 1), (2, 1, 2)):
        crystal = supercell(skewed(), repeats)
        graph = build(crystal)
        graph.atom[MASK] = torch.arange(len(crystal)) % 6 == 2
        graph.edge[HIDDEN] = graph.atom[MASK][graph.edge_index].any(0)
        losses.append(answer(pretext, encoder, {"masked": collate([graph])}).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_it_shares_one_view_with_group_and_period():
    encoder = small_encoder("MEGNet")
    pretexts = {"atoms": MaskedAtoms(encoder, target="group-period", distances="hidden"), "edges": MaskedEdges(encoder)}
    mixture = Mixture(pretexts, {"atoms": 1.0, "edges": 1.0})
    assert len(mixture.views) == 1
    visible = {"atoms": MaskedAtoms(encoder), "edges": MaskedEdges(encoder, distances="visible")}
    assert len(Mixture(visible, {"atoms": 1.0, "edges": 1.0}).views) == 1


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_learned(name):
    torch.manual_seed(0)
    encoder = small_encoder(name)
    losses = losses_while_learning(MaskedEdges(encoder), encoder, CRYSTALS)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize(
    "pretexts",
    [
        {"masked-edges": {}},
        {"masked-edges": {"distances": "visible"}},
        {"masked-edges": {}, "masked-atoms": {"target": "group-period", "distances": "hidden"}},
    ],
    ids=str,
)
def test_two_processes(model, pretexts, tmp_path):
    assert_two_processes_agree(model, pretexts, CRYSTALS, tmp_path)
