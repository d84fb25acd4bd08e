"""Pretexts on computed targets: heads against numpy, what is asked under which view, mixtures, learning, processes."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from pymatgen.symmetry.groups import SpaceGroup as GroupOfPymatgen
from small_systems import SMALL, cscl, iron, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import MASK, collate
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError
from matgl_ssl.hub import read_stamp
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.pretexts.atom_targets import AtomTargets
from matgl_ssl.pretexts.crystal_targets import (
    EVERY,
    CrystalTargets,
    crystal_system_class,
    space_group_class,
)
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms
from matgl_ssl.pretexts.target_heads import ClassHead, RegressionHead
from matgl_ssl.recipes import load_recipe
from matgl_ssl.targets import CRYSTAL_SYSTEMS, Coordination, Density, EwaldEnergy, RadialFingerprint, with_targets
from matgl_ssl.testing import assert_two_processes_agree
from matgl_ssl.training.pretrain import pretrain
from matgl_ssl.views import DisplaceAtoms, MaskAtoms, View, sample_generator

NAMES = ("M3GNet", "MEGNet")
ATOMS = [
    "radial-fingerprint",
    "angular-fingerprint",
    "coordination",
    "atom-bonds",
    "atom-vibrations",
    "atom-tight-binding",
]


def oxide():
    return dataclasses.replace(skewed(), numbers=np.array([14, 8, 8, 14, 8, 8]), id="oxide")


CRYSTALS = [nacl(), cscl(), oxide(), iron(), rattled(skewed(), 0.1, seed=4), rattled(nacl(), 0.2, seed=5)]


def prepared(encoder, *pretexts, crystals=CRYSTALS):
    """A mixture that has seen the crystals, and one batch for each of its views."""
    mixture = Mixture(dict(enumerate_names(pretexts)), dict.fromkeys((n for n, _ in enumerate_names(pretexts)), 1.0))
    table = with_targets(CrystalDataset.from_crystals(crystals), mixture.targets)
    mixture.prepare(table)
    build = encoder.graph_builder()
    batches = []
    for view in mixture.views:
        graphs = []
        for row in range(len(table)):
            rng = sample_generator(0, 0, row, view.stream)
            graphs.append(view.on_graph(build(view.on_crystal(table[row], rng)), rng))
        batches.append(collate(graphs))
    return mixture, batches


def enumerate_names(pretexts):
    return [(f"pretext{i}", pretext) for i, pretext in enumerate(pretexts)]


def constant(head, values):
    """A head that answers the same whatever it sees."""
    with torch.no_grad():
        head.predict[2].weight.zero_()
        head.predict[2].bias.copy_(torch.as_tensor(values))
    return head


# --- regression heads


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    values = rng.normal([3.0, -20.0, 0.0, 7.0], [0.5, 10.0, 1e-3, 0.0], (400, 4))
    values[rng.random((400, 4)) < 0.2] = np.nan
    values[5] = np.nan
    return values


@pytest.mark.parametrize("loss", ["mae", "huber", "mse"])
def test_a_head_that_knows_nothing_scores_one_and_a_perfect_one_zero(values, loss):
    head = RegressionHead("x", 6, 4, loss)
    head.fit(values)
    np.testing.assert_allclose(head.mean[:3], np.nanmean(values[:, :3], axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head.deviation[:3], np.nanstd(values[:, :3], axis=0), rtol=1e-5)
    assert head.varies.tolist() == [True, True, True, False]
    nothing, metrics = constant(head, torch.zeros(4))(torch.zeros(400, 6), torch.from_numpy(values))
    assert float(nothing.detach()) == pytest.approx(1, abs=1e-5)
    assert float(metrics["explained"]) == pytest.approx(0, abs=1e-5)
    target, _ = head.standardise(torch.from_numpy(values))
    head.predict = torch.nn.Identity()
    perfect, metrics = head(target, torch.from_numpy(values))
    assert float(perfect.detach()) == pytest.approx(0, abs=1e-6)
    assert float(metrics["explained"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "norm"),
    [
        ("mae", np.abs),
        ("mse", np.square),
        ("huber", lambda e: np.where(np.abs(e) < 1, e * e / 2, np.abs(e) - 0.5)),
    ],
)
def test_regression_loss_is_that_of_the_known_entries(values, loss, norm):
    head = RegressionHead("x", 4, 4, loss)
    head.fit(values)
    head.predict = torch.nn.Identity()
    predicted = np.random.default_rng(1).normal(size=(400, 4))
    got, metrics = head(torch.from_numpy(predicted), torch.from_numpy(values))
    standard = (values - np.nanmean(values, axis=0))[:, :3] / np.nanstd(values, axis=0)[:3]
    expected = np.nanmean(norm(predicted[:, :3] - standard)) / np.nanmean(norm(standard))
    assert float(got) == pytest.approx(expected, rel=1e-4)
    share = 1 - np.nanmean(np.abs(predicted[:, :3] - standard)) / np.nanmean(np.abs(standard))
    assert float(metrics["explained"]) == pytest.approx(share, rel=1e-4)


def test_missing_targets_have_no_gradient(values):
    head = RegressionHead("x", 4, 4, "mae")
    head.fit(values)
    head.predict = torch.nn.Identity()
    predicted = torch.ones(400, 4, requires_grad=True)
    head(predicted, torch.from_numpy(values))[0].backward()
    known = torch.isfinite(torch.from_numpy(values))
    known[:, 3] = False
    assert torch.equal(predicted.grad != 0, known)


def test_outliers_neither_set_the_scale_nor_dominate():
    values = np.random.default_rng(0).normal(size=(2000, 1))
    values[7] = 1e6
    head = RegressionHead("x", 1, 1, "mae")
    head.fit(values)
    assert float(head.deviation) < 1e5  # what 5 deviations, three times over, leave of it
    standard, _ = head.standardise(torch.from_numpy(values))
    assert float(standard[7]) == 5
    values[7] = 12.0
    head.fit(values)
    assert float(head.deviation) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("values", [np.full((5, 2), np.nan), np.full((5, 2), 3.0)])
def test_a_target_that_nobody_has_is_left_out_with_a_warning(values, caplog):
    head = RegressionHead("ewald-energy", 3, 2, "mae")
    head.fit(values)
    assert "ewald-energy" in caplog.text
    loss, metrics = head(torch.ones(5, 3), torch.from_numpy(values))
    assert float(loss.detach()) == 0
    assert float(metrics["explained"]) == 0


# --- classification heads


def test_frequencies_score_one():
    classes = np.repeat([225.0, 1.0, 62.0, np.nan], [5, 3, 2, 4])[:, None]
    head = ClassHead("space-group", 3, 230, space_group_class)
    head.fit(classes)
    assert float(head.baseline) == pytest.approx(-sum(p * np.log(p) for p in (0.5, 0.3, 0.2)))
    logits = torch.full((230,), -40.0)
    logits[[224, 0, 61]] = torch.tensor([0.5, 0.3, 0.2]).log()
    loss, metrics = constant(head, logits)(torch.zeros(14, 3), torch.from_numpy(classes))
    assert float(loss.detach()) == pytest.approx(1, abs=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(0.5)


def test_one_class_only_is_nothing_to_learn():
    head = ClassHead("space-group", 3, 230, space_group_class)
    head.fit(np.full((4, 1), 225.0))
    assert float(head(torch.zeros(4, 3), torch.full((4, 1), 225.0))[0].detach()) == 0


def test_crystal_systems_are_those_of_pymatgen():
    borders = [1, 2, 3, 15, 16, 74, 75, 142, 143, 167, 168, 194, 195, 230]
    expected = [GroupOfPymatgen.from_int_number(n).crystal_system for n in borders]
    numbers = torch.arange(1, 231, dtype=torch.float64)
    classes = crystal_system_class(numbers)
    assert [list(CRYSTAL_SYSTEMS)[classes[n - 1]] for n in borders] == expected
    assert (classes.diff() >= 0).all()
    assert space_group_class(numbers).tolist() == list(range(230))


# --- pretexts


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_view_is_encoded_once_with_masked_atoms(name):
    encoder = small_encoder(name)
    mixture, [batch] = prepared(encoder, MaskedAtoms(encoder), AtomTargets(encoder), CrystalTargets(encoder))
    assert mixture.views == (MaskAtoms(),)
    assert batch.atom[MASK].any()
    _, outputs, _ = mixture(encoder, [batch])
    atoms, crystals = outputs["pretext1"], outputs["pretext2"]
    losses = [v for k, v in crystals.metrics.items() if k.endswith("_loss")]
    assert float(crystals.loss.detach()) == pytest.approx(float(sum(losses)), rel=1e-6)
    assert set(atoms.metrics) == {
        "radial-fingerprint_loss", "radial-fingerprint_explained", "coordination_loss", "coordination_explained",
    }  # fmt: skip
    assert {"space-group_accuracy", "crystal-system_accuracy", "ewald-energy_explained"} <= set(crystals.metrics)


@pytest.mark.parametrize(
    ("view", "expected"), [("clean", View()), ("masked", MaskAtoms()), ("displaced", DisplaceAtoms(sigma=0.1))]
)
def test_targets_are_those_of_the_crystal_as_it_is(view, expected):
    encoder = small_encoder("MEGNet")
    pretexts = AtomTargets(encoder, targets=ATOMS, view=view), CrystalTargets(encoder, targets=["density"], view=view)
    mixture, [batch] = prepared(encoder, *pretexts)
    assert mixture.views == (expected,)
    rows = np.concatenate([RadialFingerprint()(c) for c in CRYSTALS])
    np.testing.assert_allclose(batch.atom[RadialFingerprint().column].numpy(), rows)
    np.testing.assert_allclose(batch.labels[Density().column].numpy(), [Density()(c) for c in CRYSTALS])
    coords = np.concatenate([c.frac_coords for c in CRYSTALS])
    assert np.allclose(batch.frac_coords.numpy(), coords, atol=1e-5) == (view != "displaced")


def test_heads_read_the_atoms_and_their_mean():
    encoder = small_encoder("MEGNet")
    atoms = AtomTargets(encoder, targets=["coordination"], view="clean")
    crystals = CrystalTargets(encoder, targets=["ewald-energy"], view="clean")
    mixture, [batch] = prepared(encoder, atoms, crystals)
    features = encoder(batch)
    vectors = features.node[-1]
    means = torch.stack([vectors[batch.batch == i].mean(0) for i in range(len(CRYSTALS))])
    for pretext, target, x, rows in (
        (atoms, "coordination", vectors, np.concatenate([Coordination()(c) for c in CRYSTALS])),
        (crystals, "ewald-energy", means, np.stack([EwaldEnergy()(c) for c in CRYSTALS])),
    ):
        head = pretext.heads[target]
        mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        error = np.abs(head.predict(x).detach().numpy() - (rows - mean) / deviation)
        output = pretext({"view": features}, {"view": batch})
        assert float(output.loss) == pytest.approx(
            np.nanmean(error) / np.nanmean(np.abs((rows - mean) / deviation)), rel=1e-3
        )
    assert np.isnan(np.stack([EwaldEnergy()(c) for c in CRYSTALS])).any()
    assert set(mixture.targets) == {Coordination(), EwaldEnergy()}


@pytest.mark.parametrize("name", NAMES)
def test_crystals_may_be_read_off_the_readouts_vector(name):
    encoder = small_encoder(name)
    pretext = CrystalTargets(encoder, targets=["density", "crystal-vibrations"], view="clean", vector="readout")
    _, [batch] = prepared(encoder, pretext)
    features = encoder(batch)
    rows = np.stack([Density()(c) for c in CRYSTALS])
    standard = (rows - rows.mean(0)) / rows.std(0)
    error = np.abs(pretext.heads["density"].predict(features.readout).detach().numpy() - standard).mean()
    output = pretext({"view": features}, {"view": batch})
    assert float(output.metrics["density_loss"]) == pytest.approx(error / np.abs(standard).mean(), rel=1e-3)
    assert pretext.trains_readout
    assert not CrystalTargets(encoder).trains_readout


def test_each_target_is_computed_once_and_only_if_asked_for():
    encoder = small_encoder("MEGNet")
    both = CrystalTargets(encoder, targets=["space-group", "crystal-system"])
    assert len(both.targets) == 1
    assert list(both.heads) == ["space-group", "crystal-system"]
    assert {t.name for t in CrystalTargets(encoder).targets} == set(EVERY) - {"crystal-system"}


@pytest.mark.parametrize(
    ("pretext", "arguments", "message"),
    [
        ("atom-targets", {"targets": ["radial-fingerprin"]}, "target.*Did you mean 'radial-fingerprint'"),
        ("atom-targets", {"targets": []}, "at least one target: angular-fingerprint"),
        ("atom-targets", {"targets": ["density"]}, "belongs to crystal-targets"),
        ("atom-targets", {"targets": [{"coordination": {"cut": 3.0}}]}, "argument of target 'coordination'.*'cut'"),
        ("crystal-targets", {"view": "cleen"}, "view 'cleen'. Did you mean 'clean'"),
    ],
)
def test_what_does_not_exist_is_refused(pretext, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_pretext(pretext, small_encoder("MEGNet"), arguments)


@pytest.mark.parametrize("name", NAMES)
def test_every_head_can_be_learned(name):
    encoder = small_encoder(name).train()
    torch.manual_seed(0)
    mixture, batches = prepared(encoder, AtomTargets(encoder, targets=ATOMS), CrystalTargets(encoder))
    optimizer = torch.optim.Adam([*encoder.parameters(), *mixture.parameters()], lr=0.01)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        loss, outputs, _ = mixture(encoder, batches)
        loss.backward()
        optimizer.step()
        history.append({k: float(v) for o in outputs.values() for k, v in o.metrics.items() if k.endswith("_loss")})
    assert len(history[0]) == 12
    guesses = dict.fromkeys(history[0], 1.0)
    for target, n_classes in (("crystal-system", 7), ("space-group", 230)):  # among all, not by their frequencies
        guesses[f"{target}_loss"] = np.log(n_classes) / float(mixture.pretexts["pretext1"].heads[target].baseline)
    assert history[0] == pytest.approx(guesses, rel=0.3)
    for key, first in history[0].items():
        assert history[-1][key] < 0.7 * first, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_two_processes_agree(name, loss, tmp_path):
    pretexts = {"atom-targets": {"targets": ATOMS, "loss": loss}, "crystal-targets": {"loss": loss}}
    assert_two_processes_agree(name, pretexts, CRYSTALS, tmp_path, first=1)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_runs_and_writes_each_heads_score(name, tmp_path):
    crystals = [dataclasses.replace(CRYSTALS[i % 6], id=f"c{i}") for i in range(18)]
    out = tmp_path / "run"
    pretrain(
        data=CrystalDataset.from_crystals(crystals), out=out, recipe="intrinsic", model=name, model_args=SMALL[name],
        epochs=1, batch_size=8, val_fraction=0.2, log_every=1, accelerator="cpu",
    )  # fmt: skip
    with (out / "metrics.csv").open() as f:
        last = list(csv.DictReader(f))[-1]
    [*_, crystal] = load_recipe("intrinsic")["pretexts"]
    for target in crystal["arguments"]["targets"]:
        assert np.isfinite(float(last[f"val_crystal-targets/{target}_loss"]))
    assert "val_atom-targets/radial-fingerprint_explained" in last
    stamped = read_stamp(out / "encoder")["targets"]
    assert stamped[RadialFingerprint().column] == repr(RadialFingerprint())
    assert ", ".join(stamped) == json.loads((out / "facts.json").read_text())["formulas of the computed targets"]
