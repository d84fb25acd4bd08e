"""Accelerated models are the plain ones, computed with less work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bad_crystals import CRYSTALS as CRYSTALS_NOBODY_SHOULD_TRUST
from same_results import a_network, assert_close, everything
from small_systems import cscl, double, iron, make_batch, nacl, skewed, small_encoder, supercell

from matgl_ssl.acceleration import accelerate, compiler, decelerate, kernel
from matgl_ssl.acceleration import rows as rows_module
from matgl_ssl.acceleration.fast_class import FastClass
from matgl_ssl.acceleration.row_network import ACTIVATIONS, gradient
from matgl_ssl.acceleration.rows import BY_TORCH, Rows
from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal

pytestmark = pytest.mark.pyg
needs_compiler = pytest.mark.skipif(compiler.library() is None, reason="no C++ compiler")


def faster_modules(model) -> list[str]:
    """Modules of faster classes."""
    return [path for path, module in model.named_modules() if isinstance(module, FastClass)]


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
    assert faster_modules(encoder.model)
    assert_close(everything(encoder, batch), expected, tolerance)


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
    assert faster_modules(encoder.model)
    assert not faster_modules(matgl_ssl.decelerate(potential))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_row_networks_have_the_right_derivatives(kind, compiled, monkeypatch):
    """With and without a compiler; widths that fill no vector register, and rows that fill no block."""
    if not compiled:
        monkeypatch.setattr(compiler, "library", lambda: None)
    generator = torch.Generator().manual_seed(0)
    shapes = (70, 5), (3, 7), (3, 7), (7, 5), (7,), (5, 7), (5,)
    x = [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    edge_index = torch.randint(3, (2, 70), generator=generator, dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda *x: a_network(x, edge_index, 3, kind), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: a_network(x, edge_index, 3, kind), x, fast_mode=True)


@needs_compiler
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_and_their_derivatives_are_exact(kind, dtype, monkeypatch):
    """Over the whole range, up to the third derivative, against torch in double precision."""
    x = torch.cat([torch.linspace(-30, 30, 2001), torch.tensor([-1e4, -90.0, -0.0, 80.0])]).to(dtype)
    given, exactly = x[:, None].requires_grad_(), x.double().detach().requires_grad_()
    rows = Rows()
    # torch's softplus is the identity above 20, which is off by 2e-9 there.
    by_torch = (lambda x: torch.log1p(x.exp()) - math.log(2)) if kind == "softplus2" else BY_TORCH[ACTIVATIONS[kind]]
    ours, theirs = rows.compute(rows.rows(given).activate(kind))[0], by_torch(exactly)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    for order in range(4):
        if order:
            (ours,) = torch.autograd.grad(ours.sum(), given, create_graph=True)
            (theirs,) = torch.autograd.grad(theirs.sum(), exactly, create_graph=True)
        torch.testing.assert_close(ours.flatten().double(), theirs, rtol=tolerance, atol=10 * tolerance)
    if kind != "softplus2":
        with pytest.raises(NotImplementedError, match="decelerate"):
            torch.autograd.grad(ours.sum(), given)


def test_forces_take_no_gradients_of_weights(monkeypatch):
    """They would cost as much again."""
    asked = []
    monkeypatch.setattr(
        rows_module, "gradient", lambda network, wanted, given: asked.append(wanted) or gradient(network, wanted, given)
    )
    x, weight = torch.randn(5, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    for inputs, wanted in ((x,), (True, False)), ((x, weight), (True, True)), ((weight,), (False, True)):
        rows = Rows()
        (y,) = rows.compute(rows.rows(2 * x).linear(weight))
        torch.autograd.grad(y.sum(), inputs)
        assert asked.pop() == wanted if compiler.library() else not asked


@needs_compiler
def test_inputs_that_do_not_go_together_are_refused():
    """What is read by pointer is checked first."""
    for x, weight, message in (
        (torch.ones(4, 3), torch.ones(2, 5), "3 numbers a row"),
        (torch.ones(4, 3), torch.ones(2, 3).double(), "precision"),
    ):
        rows = Rows()
        with pytest.raises(ValueError, match=message):
            rows.compute(rows.rows(x).linear(weight))
    x, of_atoms = torch.ones(4, 3), torch.ones(2, 3)
    for edge_index, error in (
        (torch.tensor([[0, 1, 0, 1], [0, 1, 2, 0]]), IndexError),
        (torch.tensor([[0, 1, 0, 1], [0, 1, -1, 0]]), IndexError),
        (torch.tensor([[0, 1, 0], [0, 1, 1]]), ValueError),
    ):
        rows = Rows(edge_index, 2)
        with pytest.raises(error):
            rows.compute(rows.rows(x) + rows.atoms(of_atoms, 1))


@needs_compiler
def test_plans_do_not_grow_with_the_batches():
    x, weight = torch.randn(9, 3), torch.randn(2, 3)
    sizes = []
    for n in range(1, 9):
        rows = Rows()
        rows.compute(rows.rows(x[:n]).linear(weight))
        sizes.append(kernel._plan.cache_info().currsize)
    assert sizes[0] == sizes[-1]


def test_without_a_compiler_it_is_the_same(monkeypatch):
    """As on GPUs: the same networks by torch's own operations."""
    encoder = small_encoder("M3GNet", is_intensive=False).double()
    batch = double(encoder, CRYSTALS["batch"])
    expected = everything(encoder, batch)
    monkeypatch.setattr(compiler, "library", lambda: None)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, 1e-10)


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
    assert not faster_modules(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_decelerate_restores_matgls_own_code(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        assert faster_modules(encoder.model)
        assert decelerate(encoder.model) is encoder.model
        assert not faster_modules(encoder.model)
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
