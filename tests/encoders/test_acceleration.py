"""Accelerated models are the plain ones, computed with less work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bad_crystals import CRYSTALS as CRYSTALS_NOBODY_SHOULD_TRUST
from small_systems import cscl, double, iron, make_batch, nacl, skewed, small_encoder, supercell
from torch.nn.functional import silu, softplus

from matgl_ssl._lane import LANE
from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.encoders.acceleration import accelerate, decelerate

if LANE == "pyg":
    from matgl_ssl.encoders.acceleration.activations import _SiLU, softplus2_

pytestmark = pytest.mark.pyg


def shadows(model) -> list[str]:
    """Methods that are shadowed on instances."""
    names = ("forward", "edge_update_", "node_update_")
    return [f"{path}.{name}" for path, module in model.named_modules() for name in names if name in vars(module)]


def sparse() -> Crystal:
    """Every bond is longer than the three-body cutoff of 4 Å: no triplet at all."""
    return Crystal(np.array([55, 17]), np.array([[0.0] * 3, [0.5] * 3]), 5.2 * np.eye(3), id="sparse")


CRYSTALS = {
    "one atom": [iron()],
    "no triplets": [sparse()],
    "larger cell": [supercell(nacl(), (2, 1, 1))],
    "batch": [nacl(), iron(), sparse(), cscl(), skewed()],
}
MODELS = {
    "energy": ("M3GNet", {"is_intensive": False}),
    "weighted_atom": ("M3GNet", {"readout_type": "weighted_atom"}),
    "set2set": ("M3GNet", {"readout_type": "set2set"}),
    "smooth": ("M3GNet", {"use_smooth": True}),
    "MEGNet": ("MEGNet", {}),
    "MEGNet of one block": ("MEGNet", {"nblocks": 1}),
    "MEGNet with tanh": ("MEGNet", {"activation_type": "tanh"}),
}
NAMES = ("M3GNet", "MEGNet")


def everything(encoder: Encoder, batch) -> dict[str, torch.Tensor]:
    """Features, output, forces, stresses, and the gradients of a loss on all of them."""
    encoder.zero_grad()
    found = encoder.train()(batch, forces=True, stresses=True)
    loss = found.output.square().sum() + found.forces.square().sum() + 0.01 * found.stresses.square().sum()
    (loss + sum(x.square().mean() for x in (*found.node, *found.edge))).backward()
    values = {"output": found.output, "forces": found.forces, "stresses": found.stresses}
    values |= {f"state {k}": x for k, x in enumerate(found.state) if x is not None}
    values |= {f"node {k}": x for k, x in enumerate(found.node)} | {f"edge {k}": x for k, x in enumerate(found.edge)}
    values |= {f"d {name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {name: value.detach().clone() for name, value in values.items()}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    scale = {kind: max(float(v.norm()) for k, v in expected.items() if k.startswith(kind)) for kind in ("d ", "")}
    for name, value in expected.items():
        # Forces that vanish by symmetry and gradients that are all rounding are compared with what does not vanish.
        floor = 1e-3 * scale["d " if name.startswith("d ") else ""]
        error = float((found[name] - value).norm()) / max(float(value.norm()), floor)
        assert error < tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize("crystals", CRYSTALS)
@pytest.mark.parametrize("model", ["energy", "MEGNet"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_it_gives_the_same_outputs_forces_stresses_and_gradients(crystals, model, dtype, tolerance):
    name, changes = MODELS[model]
    encoder = small_encoder(name, **changes).to(dtype)
    make = make_batch if dtype == torch.float32 else double
    batch = make(encoder, CRYSTALS[crystals])
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    assert shadows(encoder.model)
    assert_close(everything(encoder, batch), expected, tolerance)


@pytest.mark.parametrize("model", ["energy", "MEGNet"])
def test_it_needs_no_sparse_products(model, monkeypatch):
    """Where torch has no MKL, and on GPUs, atoms are gathered."""
    name, changes = MODELS[model]
    encoder = small_encoder(name, **changes).double()
    batch = double(encoder, CRYSTALS["batch"])
    expected = everything(encoder, batch)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, 1e-10)


@pytest.mark.parametrize("model", [name for name in MODELS if name not in ("energy", "MEGNet")])
def test_it_holds_for_other_arguments(model):
    name, changes = MODELS[model]
    encoder = small_encoder(name, **changes).double()
    batch = double(encoder, CRYSTALS["batch"])
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, 1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["nan", "coincident"])
def test_what_is_not_a_number_is_not_a_number_in_the_same_places(name, kind):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), CRYSTALS_NOBODY_SHOULD_TRUST[kind], skewed()])
    with torch.no_grad():
        expected = encoder(batch)
        accelerate(encoder.model)
        found = encoder(batch)
    for plain, fast in zip(
        (*expected.node, *expected.edge, expected.output), (*found.node, *found.edge, found.output), strict=True
    ):
        assert torch.equal(plain.isnan(), fast.isnan())


@pytest.mark.parametrize("name", NAMES)
def test_a_crystal_without_edges_changes_nothing_for_the_others(name):
    encoder = small_encoder(name)
    lonely = Crystal(np.array([11]), np.zeros((1, 3)), 30 * np.eye(3), id="lonely")
    batch = make_batch(encoder, [nacl(), lonely, skewed()])
    with torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        found = encoder(batch).output
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_matgls_own_predictions_go_through_it(name):
    encoder = small_encoder(name)
    structure = skewed().to_structure()
    with torch.no_grad():
        expected = float(encoder.model.predict_structure(structure))
        accelerate(encoder.model)
        assert float(encoder.model.predict_structure(structure)) == pytest.approx(expected, rel=1e-5)


def test_a_potential_is_accelerated_too():
    import matgl_ssl

    encoder = small_encoder("M3GNet", is_intensive=False)
    potential = Potential(encoder.model)
    assert matgl_ssl.accelerate(potential) is potential
    assert shadows(encoder.model)
    assert not shadows(matgl_ssl.decelerate(potential))


def test_activations_have_the_right_derivatives_of_every_order():
    """First and second on their own paths, and a third, which nothing here takes but somebody may."""
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    for ours, torchs in ((_SiLU.apply, silu), (lambda x: softplus2_(x.clone()), lambda x: softplus(x) - math.log(2))):
        found, expected = ours(x), torchs(x)
        for _ in range(4):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
            found, expected = (torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y in (found, expected))
        assert torch.autograd.gradgradcheck(ours, x)


def test_large_activations_do_not_overflow():
    encoder = small_encoder("MEGNet")
    with torch.no_grad():
        encoder.model.edge_encoder.layers[0].bias.add_(200.0)
        batch = make_batch(encoder, CRYSTALS["batch"])
        expected = encoder(batch).output
        accelerate(encoder.model)
        torch.testing.assert_close(encoder(batch).output, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_and_what_is_saved_stay_what_they_were(name, tmp_path):
    import matgl

    encoder = small_encoder(name)
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    assert accelerate(encoder.model) is encoder.model
    after = encoder.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, before[k]) for k, value in after.items())
    encoder.model.save(tmp_path / "saved")
    loaded = matgl.load_model(tmp_path / "saved")
    assert not shadows(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_decelerate_restores_matgls_own_code(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        assert shadows(encoder.model)
        assert decelerate(encoder.model) is encoder.model
        assert not shadows(encoder.model)
        assert torch.equal(encoder(batch).output, expected)


@pytest.mark.parametrize("name", NAMES)
def test_accelerating_twice_is_accelerating_once(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        once = accelerate(encoder.model) and encoder(batch).output
        twice = accelerate(encoder.model) and encoder(batch).output
    assert torch.equal(once, twice)


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_for_models_with_a_state(name):
    changes = {"include_state": True} if name == "M3GNet" else {}
    encoder = small_encoder(name, dim_state_embedding=4, ntypes_state=2, **changes)
    batch, state = make_batch(encoder, CRYSTALS["batch"]), torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        expected = encoder(batch, state=state).output
        accelerate(encoder.model)
        torch.testing.assert_close(encoder(batch, state=state).output, expected, rtol=1e-5, atol=1e-6)
