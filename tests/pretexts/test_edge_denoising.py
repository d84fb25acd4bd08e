"""Edge denoising against expansions written anew here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import cscl, iron, nacl, skewed, small_encoder

from matgl_ssl.backends import collate
from matgl_ssl.pretexts.edge_denoising import EdgeDenoising
from matgl_ssl.views import DisplaceAtoms, sample_generator

NAMES = ("M3GNet", "MEGNet")


def make(encoder, pretext, crystals):
    view, build = pretext.views["displaced"], encoder.graph_builder()
    graphs = []
    for sample, crystal in enumerate(crystals):
        rng = sample_generator(0, 0, sample, view.stream)
        graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
    return collate(graphs)


def ask(pretext, encoder, batch):
    return pretext({"displaced": encoder(batch)}, {"displaced": batch})


def gaussians(r):
    """MEGNet's default: 100 centres from 0 to 5 Å, exp(-0.5 (r - c)²)."""
    return np.exp(-0.5 * (r[:, None] - np.linspace(0, 5, 100)) ** 2)


def bessels(r, cutoff=5.0):
    """M3GNet's default: j_l(z_ln r / c) sqrt(2 / c³) / |j_l+1(z_ln)|, l and n below 3."""
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    columns = []
    for order in range(3):
        grid = np.linspace(0.5, 20, 2000)
        values = spherical_jn(order, grid)
        at = np.nonzero(values[1:] * values[:-1] < 0)[0][:3]
        for root in (brentq(lambda x, n=order: spherical_jn(n, x), grid[i], grid[i + 1], xtol=1e-13) for i in at):
            scale = np.sqrt(2 / cutoff**3) / abs(spherical_jn(order + 1, root))
            columns.append(spherical_jn(order, root * np.minimum(r, cutoff) / cutoff) * scale)
    return np.stack(columns, axis=1)


EXPANSIONS = {"MEGNet": gaussians, "M3GNet": bessels}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["expansion", "distance"])
@pytest.mark.parametrize("predict", ["change", "whole"])
def test_the_target_is_what_the_edges_were_at_rest(name, target, predict):
    encoder = small_encoder(name)
    pretext = EdgeDenoising(encoder, target=target, predict=predict)
    torch.nn.init.normal_(pretext.head[-1].weight, std=0.1)
    crystals = [nacl(), skewed(), iron()]
    batch = make(encoder, pretext, crystals)
    at_rest = collate([encoder.graph_builder()(c) for c in crystals])
    assert torch.equal(at_rest.edge_index, batch.edge_index)

    features = encoder(batch)
    output = pretext({"displaced": features}, {"displaced": batch})
    predicted = pretext.head(features.edge[-1]).detach().numpy()
    expand = EXPANSIONS[name] if target == "expansion" else lambda r: r[:, None]
    clean, noisy = (expand(b.edge_vectors().double().norm(dim=1).numpy()) for b in (at_rest, batch))
    moves = (batch.edge_index[0] != batch.edge_index[1]).numpy()
    assert 0 < moves.sum() < len(moves)
    assert predicted.shape == clean.shape
    if predict == "change":
        predicted = predicted + noisy
    # M3GNet computes higher Bessel functions in float32.
    assert output.loss.item() == pytest.approx(((predicted - clean) ** 2)[moves].mean(), rel=1e-3)
    assert float(output.metrics["baseline"]) == pytest.approx(((noisy - clean) ** 2)[moves].mean(), rel=1e-2)
    assert float(output.metrics["baseline"]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_change_starts_at_the_baseline(name):
    encoder = small_encoder(name)
    pretext = EdgeDenoising(encoder)
    output = ask(pretext, encoder, make(encoder, pretext, [nacl(), skewed()]))
    assert float(output.loss) == pytest.approx(float(output.metrics["baseline"]), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_target_stays_when_the_encoder_learns(name):
    encoder = small_encoder(name)
    pretext = EdgeDenoising(encoder)
    assert pretext.expansion is not encoder.model.bond_expansion
    assert not [n for n, p in pretext.named_parameters() if p.requires_grad and not n.startswith("head")]


@pytest.mark.parametrize("name", NAMES)
def test_moving_the_whole_crystal_changes_nothing(name):
    encoder = small_encoder(name)
    pretext = EdgeDenoising(encoder)
    batch = make(encoder, pretext, [skewed()])
    moved = dataclasses.replace(batch, frac_coords=batch.frac_coords + 0.3)
    assert float(ask(pretext, encoder, moved).loss) == pytest.approx(float(ask(pretext, encoder, batch).loss), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_one_atom_teach_nothing(name):
    encoder = small_encoder(name).train()
    pretext = EdgeDenoising(encoder)
    output = ask(pretext, encoder, make(encoder, pretext, [iron(), iron()]))
    output.loss.backward()
    assert float(output.loss) == float(output.metrics["baseline"]) == 0
    assert max(float(p.grad.abs().max()) for p in encoder.parameters() if p.grad is not None) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"target": "distance"}, {"target": "distance", "predict": "whole"}], ids=str)
def test_it_can_be_learned(name, options):
    encoder = small_encoder(name).train()
    torch.manual_seed(0)
    pretext = EdgeDenoising(encoder, **options)
    batch = make(encoder, pretext, [nacl(), cscl(), skewed()])
    optimizer = torch.optim.Adam([*encoder.parameters(), *pretext.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        output = ask(pretext, encoder, batch)
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss))
    # The whole starts far away; the change starts at the baseline, which is hard to beat in a few steps.
    assert losses[-1] < (0.3 if options.get("predict") == "whole" else 0.75) * losses[0]


def test_options():
    encoder = small_encoder("MEGNet")
    assert dict(EdgeDenoising(encoder, sigma=0.2).views) == {"displaced": DisplaceAtoms(sigma=0.2, topology="clean")}
