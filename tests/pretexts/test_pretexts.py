"""The two pretexts against references written anew here, and mixtures of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_systems import ELEMENTS, SMALL, cscl, iron, nacl, skewed, small_encoder, supercell

from matgl_ssl.backends import MASK, NOISE, collate
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts import Mixture, Pretext, PretextOutput
from matgl_ssl.pretexts.derivative_denoising import DerivativeDenoising
from matgl_ssl.pretexts.masked_atoms import MaskedAtoms, group_and_period
from matgl_ssl.views import DisplaceAtoms, MaskAtoms, View, sample_generator

NAMES = ("M3GNet", "MEGNet")


def batches(encoder, views, crystals):
    """One batch for each view, as the loader makes them."""
    build = encoder.graph_builder()
    made = []
    for view in views:
        graphs = []
        for sample, crystal in enumerate(crystals):
            rng = sample_generator(0, 0, sample, view.stream)
            graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
        made.append(collate(graphs))
    return made


def ask(pretext: Pretext, encoder: Encoder, crystals) -> PretextOutput:
    [name], [view] = pretext.views, pretext.views.values()
    [batch] = batches(encoder, [view], crystals)
    return pretext({name: encoder(batch, forces=name in pretext.forces)}, {name: batch})


def fresh_encoder(name: str, **changes) -> Encoder:
    """With MatGL's own initial weights."""
    torch.manual_seed(0)
    return Encoder(new_model(name, {**SMALL[name], **changes}))


# --- masked atoms


@pytest.mark.parametrize("name", NAMES)
def test_masked_atoms_is_the_cross_entropy_of_the_hidden_elements(name):
    encoder = small_encoder(name)
    pretext = MaskedAtoms(encoder, fraction=0.4)
    [batch] = batches(encoder, pretext.views.values(), [nacl(), skewed(), iron()])
    features = encoder(batch)
    output = pretext({"masked": features}, {"masked": batch})
    numbers = np.concatenate([nacl().numbers, skewed().numbers, iron().numbers])
    symbols = {1: "H", 8: "O", 11: "Na", 12: "Mg", 14: "Si", 17: "Cl", 26: "Fe"}
    [head] = pretext.heads.values()
    losses, hits = [], []
    for atom in batch.atom[MASK].nonzero().flatten().tolist():
        logits = features.node[-1][atom].detach().double() @ head.weight.detach().double().T + head.bias.detach()
        label = ELEMENTS.index(symbols[int(numbers[atom])])
        losses.append(float(torch.log(torch.exp(logits).sum()) - logits[label]))
        hits.append(int(logits.argmax()) == label)
    assert len(losses) == 4 + 3 + 1
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(output.metrics["element_accuracy"]) == pytest.approx(np.mean(hits))


def test_group_and_period_losses_add_up():
    encoder = small_encoder("MEGNet")
    pretext = MaskedAtoms(encoder, target="group-period")
    [batch] = batches(encoder, pretext.views.values(), [nacl(), skewed()])
    features = encoder(batch)
    output = pretext({"masked": features}, {"masked": batch})
    mask = batch.atom[MASK]
    expected = 0.0
    classes = {"H": (1, 0), "O": (16, 1), "Na": (1, 2), "Mg": (2, 2), "Si": (14, 2), "Cl": (17, 2)}
    for which, head in enumerate(pretext.heads.values()):
        logp = torch.log_softmax(head(features.node[-1][mask]), dim=1)
        labels = [classes[ELEMENTS[t]][which] for t in batch.node_type[mask].tolist()]
        expected -= logp[range(len(labels)), labels].mean().item()
    assert float(output.loss) == pytest.approx(expected, rel=1e-5)
    assert set(output.metrics) == {"group_accuracy", "period_accuracy"}


@pytest.mark.parametrize(
    ("symbol", "group", "period"),
    [
        ("H", 1, 1), ("He", 18, 1), ("Fe", 8, 4), ("O", 16, 2), ("La", 0, 6), ("Lu", 0, 6), ("U", 0, 7), ("Ac", 0, 7),
        ("Hf", 4, 6), ("Cs", 1, 6), ("Zn", 12, 4), ("Pu", 0, 7),
    ],
)  # fmt: skip
def test_groups_and_periods_are_those_of_the_periodic_table_and_zero_in_the_f_block(symbol, group, period):
    assert group_and_period(symbol) == (group, period - 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("target", "classes"), [("element", [89]), ("group-period", [19, 7])])
def test_masked_atoms_starts_as_a_guess_among_all_classes(name, target, classes):
    arguments = {k: v for k, v in SMALL[name].items() if k != "element_types"}
    torch.manual_seed(0)
    encoder = Encoder(new_model(name, arguments))
    assert len(encoder.element_types) == 89
    output = ask(MaskedAtoms(encoder, target=target), encoder, [nacl(), skewed(), cscl(), iron()] * 3)
    assert float(output.loss) == pytest.approx(sum(map(math.log, classes)), rel=0.15)


# --- derivative denoising


def with_forces(forces: torch.Tensor) -> Features:
    return Features(node=[], edge=[], state=[], readout=None, output=torch.zeros(1), forces=forces)


@pytest.fixture
def displaced():
    """A pretext-independent batch: three crystals, one of a single atom, with random noise and random forces."""
    encoder = small_encoder("MEGNet")
    [batch] = batches(encoder, [DisplaceAtoms(sigma=0.2)], [nacl(), skewed(), iron()])
    return encoder, batch, torch.randn(15, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("loss", ["mae", "mse"])
@pytest.mark.parametrize("sign", ["restoring", "published"])
@pytest.mark.parametrize(("scale", "power"), [("none", 0), ("sigma", 1), ("sigma2", 2)])
@pytest.mark.parametrize("remove_com", [True, False])
def test_derivative_denoising_fits_forces_to_the_noise(displaced, loss, sign, scale, power, remove_com):
    encoder, batch, forces = displaced
    pretext = DerivativeDenoising(encoder, sigma=0.2, loss=loss, sign=sign, scale=scale, remove_com=remove_com)
    output = pretext({"displaced": with_forces(forces)}, {"displaced": batch})
    target = batch.atom[NOISE].numpy().astype(float)
    if remove_com:
        target = np.concatenate([part - part.mean(0) for part in np.split(target, [8, 14])])
        assert np.abs(np.add.reduceat(target, [0, 8, 14])).max() < 1e-6
    target = target * (-1 if sign == "restoring" else 1) / 0.2**power
    norm = {"mae": np.abs, "mse": np.square}[loss]
    assert float(output.loss) == pytest.approx(norm(forces.numpy() - target).mean(), rel=1e-5)
    assert float(output.metrics["baseline"]) == pytest.approx(norm(target).mean(), rel=1e-5)


def test_a_perfect_restoring_force_has_no_loss_and_the_published_sign_is_its_negative(displaced):
    encoder, batch, forces = displaced
    noise = batch.atom[NOISE]
    restoring, published = (
        DerivativeDenoising(encoder, sigma=0.2, sign=sign, remove_com=False) for sign in ("restoring", "published")
    )
    assert float(restoring({"displaced": with_forces(-noise)}, {"displaced": batch}).loss) == 0
    assert float(published({"displaced": with_forces(noise)}, {"displaced": batch}).loss) == 0
    one = restoring({"displaced": with_forces(forces)}, {"displaced": batch}).loss
    other = published({"displaced": with_forces(-forces)}, {"displaced": batch}).loss
    assert float(one) == float(other)


@pytest.mark.parametrize(("name", "arguments"), [("M3GNet", {"is_intensive": False}), ("MEGNet", {})])
@pytest.mark.parametrize("remove_com", [True, False])
def test_cells_of_one_atom_teach_nothing(name, arguments, remove_com):
    encoder = small_encoder(name, **arguments).train()
    output = ask(DerivativeDenoising(encoder, remove_com=remove_com), encoder, [iron(), iron()])
    # Its own images move with the atom: there is no force to be had, and no gradient to learn from.
    assert float(output.loss) == pytest.approx(float(output.metrics["baseline"]), abs=1e-6)
    assert (float(output.loss) < 1e-6) == remove_com
    output.loss.backward()
    largest = max(float(p.grad.abs().max()) for p in encoder.parameters() if p.grad is not None)
    assert largest < 1e-4


def test_predicting_no_force_costs_the_published_constant():
    """sigma sqrt(2 / pi): 0.0798 Å at 0.1 Å."""
    encoder = small_encoder("MEGNet")
    pretext = DerivativeDenoising(encoder, sigma=0.1, remove_com=False)
    crystals = [supercell(cscl(), (3, 3, 2))] * 100
    [batch] = batches(encoder, pretext.views.values(), crystals)
    output = pretext({"displaced": with_forces(torch.zeros(3600, 3))}, {"displaced": batch})
    assert float(output.metrics["baseline"]) == pytest.approx(0.0798, rel=0.02)
    assert float(output.loss) == pytest.approx(float(output.metrics["baseline"]))


def test_a_fresh_m3gnet_starts_at_the_baseline():
    encoder = fresh_encoder("M3GNet", is_intensive=False)
    output = ask(DerivativeDenoising(encoder), encoder, [nacl(), skewed(), cscl()])
    assert float(output.loss) == pytest.approx(float(output.metrics["baseline"]), rel=0.01)


def test_its_options_reach_the_view():
    pretext = DerivativeDenoising(small_encoder("MEGNet"), sigma=0.3, topology="clean")
    assert dict(pretext.views) == {"displaced": DisplaceAtoms(sigma=0.3, topology="clean")}
    assert pretext.forces == {"displaced"}


# --- mixtures


class Constant(Pretext):
    """Sees a view and says a number."""

    def __init__(self, encoder, *, view: View, loss: float, forces: bool = False) -> None:
        super().__init__(encoder)
        self.views = {"seen": view}
        self.forces = frozenset({"seen"}) if forces else frozenset()
        self.value = loss
        self.seen = None

    def forward(self, features, batch):
        self.seen = features["seen"], batch["seen"]
        return PretextOutput(features["seen"].output.sum() * 0 + self.value)


def counted(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """A list that gets the number of crystals, and whether forces were asked for, at each pass."""
    calls: list[tuple[int, bool]] = []
    forward = Encoder.forward

    def count(self, batch, **options):
        calls.append((len(batch), bool(options.get("forces"))))
        return forward(self, batch, **options)

    monkeypatch.setattr(Encoder, "forward", count)
    return calls


def test_a_mixture_encodes_equal_views_once_and_weighs_the_losses(monkeypatch):
    encoder = small_encoder("MEGNet")
    pretexts = {
        "a": Constant(encoder, view=MaskAtoms(), loss=1.0),
        "b": Constant(encoder, view=MaskAtoms(fraction=0.15), loss=10.0),
        "c": Constant(encoder, view=MaskAtoms(draw=1), loss=100.0),
    }
    mixture = Mixture(pretexts, {"a": 1.0, "b": 0.5, "c": 0.25})
    assert mixture.views == (MaskAtoms(), MaskAtoms(draw=1))
    calls = counted(encoder, monkeypatch)
    made = batches(encoder, mixture.views, [nacl(), cscl()])
    loss, outputs, features = mixture(encoder, made)
    assert calls == [(2 * 2, False)]  # two crystals in two distinct views, in one pass
    assert float(loss) == pytest.approx(1.0 + 5.0 + 25.0)
    assert [float(outputs[k].loss) for k in "abc"] == [1.0, 10.0, 100.0]
    assert pretexts["a"].seen[0] is pretexts["b"].seen[0] is features
    assert pretexts["a"].seen[1] is made[0]
    assert pretexts["c"].seen[1] is made[1]


def test_a_shared_view_is_differentiated_if_one_pretext_needs_forces(monkeypatch):
    encoder = small_encoder("MEGNet")
    mixture = Mixture(
        {
            "plain": Constant(encoder, view=DisplaceAtoms(), loss=1.0),
            "forces": Constant(encoder, view=DisplaceAtoms(), loss=1.0, forces=True),
            "other": Constant(encoder, view=MaskAtoms(), loss=1.0),
        },
        {"plain": 1.0, "forces": 1.0, "other": 1.0},
    )
    calls = counted(encoder, monkeypatch)
    mixture(encoder, batches(encoder, mixture.views, [nacl()]))
    assert calls == [(1, True), (1, False)]


def test_a_mixture_of_both_pretexts_trains_all_of_them():
    encoder = small_encoder("M3GNet", is_intensive=False).train()
    mixture = Mixture(
        {"masked-atoms": MaskedAtoms(encoder), "derivative-denoising": DerivativeDenoising(encoder)},
        {"masked-atoms": 1.0, "derivative-denoising": 2.0},
    )
    assert mixture.trained_output.kind == "denoising"
    loss, outputs, _ = mixture(encoder, batches(encoder, mixture.views, [nacl(), skewed()]))
    expected = outputs["masked-atoms"].loss + 2.0 * outputs["derivative-denoising"].loss
    assert float(loss) == pytest.approx(float(expected))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in mixture.parameters())
    assert encoder.mask_token.grad.abs().sum() > 0
    assert encoder.model.final_layer.gated.layers[0].weight.grad.abs().sum() > 0


def test_only_derivative_denoising_trains_the_models_output():
    assert not MaskedAtoms.trains_output
    assert DerivativeDenoising.trains_output
