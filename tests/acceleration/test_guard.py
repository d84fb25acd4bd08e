"""Whatever is done to inner modules of an accelerated model has its effect: MatGL's own code runs then."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from small_systems import iron, make_batch, nacl, skewed, small_encoder
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from matgl_ssl.acceleration import accelerate, compiler, decelerate, guard
from matgl_ssl.acceleration.fast_class import FastClass

pytestmark = pytest.mark.pyg

INNER = {
    "M3GNet": ("graph_layers.0.conv.edge_update_func.layers.0", "graph_layers.1.conv.node_weight_func"),
    "MEGNet": ("blocks.0.conv.edge_func.layers.0", "edge_encoder.layers.2"),
}
PLACES = [(name, path) for name, paths in INNER.items() for path in paths]


@pytest.fixture(autouse=True)
def _not_warned_yet():
    guard.say_once.cache_clear()


class LoRALinear(nn.Linear):
    """As peft's ``lora.Linear`` it has a weight, and does more than multiply by it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None)
        self.load_state_dict(base.state_dict())
        self.a = nn.Parameter(torch.full((2, base.in_features), 0.3))
        self.b = nn.Parameter(torch.full((base.out_features, 2), 0.3))

    def forward(self, x):
        return super().forward(x) + x @ self.a.T @ self.b.T


def put(model, path: str, change) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, change(model.get_submodule(path)))


def doubled(layer):
    layer.forward = lambda x: 2 * nn.Linear.forward(layer, x)
    return layer


def hooked(layer, register: str, hook):
    getattr(layer, register)(hook)
    return layer


CHANGES = {
    "LoRA": LoRALinear,
    "another activation": lambda layer: nn.Sequential(layer, nn.Tanh()),
    "a forward method of its own": doubled,
    "weight_norm": lambda layer: pruned_weight(weight_norm(layer)),
    "spectral_norm": spectral_norm,
    "parametrized": parametrizations.spectral_norm,
    "a hook that changes the output": lambda layer: hooked(layer, "register_forward_hook", lambda *x: 2 * x[2]),
    "a hook that changes the input": lambda layer: hooked(
        layer, "register_forward_pre_hook", lambda _, x: (2 * x[0],)
    ),
    "a hook that changes the gradient": lambda layer: hooked(
        layer, "register_full_backward_pre_hook", lambda _, given: (3 * given[0],)
    ),
}  # fmt: skip


def pruned_weight(layer):
    with torch.no_grad():
        layer.weight_g.mul_(1.5)  # what the hook makes of it is in no ``weight`` before it has run
    return layer


def outcome(encoder, batch) -> list[torch.Tensor]:
    """Outputs, features and gradients of all parameters."""
    encoder.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about weight_norm
        found = encoder(batch)
    (found.output.square().sum() + found.node[-1].square().sum()).backward()
    gradients = [p.grad for _, p in sorted(encoder.named_parameters()) if p.grad is not None]
    return [x.detach().clone() for x in (found.output, *found.node, *gradients)]


def assert_equal(found, expected) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)


def differ(found, expected) -> bool:
    return len(found) != len(expected) or any(
        not torch.allclose(x, y, rtol=1e-3) for x, y in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("name", "path"), PLACES)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_what_is_done_to_inner_modules_afterwards_has_its_effect(name, path, change, caplog):
    changed = []
    for faster in (False, True):
        encoder = small_encoder(name)
        batch = make_batch(encoder, [nacl(), iron(), skewed()])
        if faster:
            accelerate(encoder.model)
            outcome(encoder, batch)
        before = outcome(encoder, batch)
        torch.manual_seed(1)
        put(encoder.model, path, CHANGES[change])
        changed.append(outcome(encoder, batch))
        assert differ(changed[-1], before)
    torch.testing.assert_close(changed[1], changed[0], rtol=1e-4, atol=1e-6)
    outcome(encoder, batch)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert path.split(".")[0] in said
    assert "MatGL's own, slower code" in said


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_once_a_hook_is_gone_the_model_is_fast_again(name, path):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), skewed()])
    plain = outcome(encoder, batch)
    accelerate(encoder.model)
    fast = outcome(encoder, batch)
    seen = []
    handle = encoder.model.get_submodule(path).register_forward_hook(lambda *x: seen.append(x[2]))
    assert_equal(outcome(encoder, batch), plain)
    assert seen
    handle.remove()
    assert_equal(outcome(encoder, batch), fast)


@pytest.mark.parametrize("name", INNER)
def test_the_encoders_own_hooks_keep_it_fast(name, monkeypatch, caplog):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), skewed()])
    batch.atom["mask"] = torch.arange(len(batch.node_type)) % 3 == 0
    accelerate(encoder.model)
    modes = []
    choose = guard._choose
    monkeypatch.setattr(guard, "_choose", lambda module: modes.append(choose(module)) or modes[-1])
    for _ in range(2):
        encoder(batch)
    assert modes == 2 * ["torch" if compiler.library() is None else "native"]
    assert not caplog.records


@pytest.mark.parametrize("name", INNER)
def test_hooks_for_all_modules_are_called(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl()])
    accelerate(encoder.model)
    called: set[nn.Module] = set()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: called.add(module))
    try:
        encoder(batch)
    finally:
        handle.remove()
    assert encoder.model.get_submodule(INNER[name][0]) in called


@pytest.mark.parametrize("name", INNER)
def test_autocast_is_matgls_own(name):
    encoder = small_encoder(name)
    batch = make_batch(encoder, [nacl(), skewed()])
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        assert torch.equal(encoder(batch).output, expected)
    with torch.no_grad():
        assert not torch.equal(encoder(batch).output, expected)


def test_an_inner_module_that_is_called_by_itself_is_looked_at_too():
    model = accelerate(small_encoder("MEGNet").model)
    network = model.edge_encoder
    x = torch.randn(300, network.layers[0].in_features)
    before = network(x)
    network.layers[0].register_forward_hook(lambda *y: 2 * y[2])
    assert not torch.allclose(network(x), before)
    decelerated = network(x)
    assert torch.equal(decelerate(model).edge_encoder(x), decelerated)


def test_a_parametrized_module_stays_what_torch_made_it():
    """torch derives its class from the one that the module has."""
    encoder = small_encoder("MEGNet")
    batch = make_batch(encoder, [nacl(), skewed()])
    accelerate(encoder.model)
    lstm = encoder.model.node_s2s.lstm
    assert isinstance(lstm, FastClass)
    before = encoder(batch).output
    parametrize.register_parametrization(lstm, "weight_hh_l0", Twice())
    found = encoder(batch).output
    assert not torch.allclose(found, before)
    decelerate(encoder.model)
    torch.testing.assert_close(encoder(batch).output, found)
    accelerate(encoder.model)
    assert torch.equal(encoder(batch).output, encoder(batch).output)
    parametrize.remove_parametrizations(lstm, "weight_hh_l0", leave_parametrized=False)
    torch.testing.assert_close(encoder(batch).output, before)


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("name", INNER)
def test_copies_remember_nothing_of_it(name):
    model = accelerate(small_encoder(name).model)
    assert "_guard" in vars(model)
    twin = copy.deepcopy(model)
    assert not any("_guard" in vars(module) for module in twin.modules())
    assert not any("_guard" in vars(module) for module in decelerate(model).modules())
