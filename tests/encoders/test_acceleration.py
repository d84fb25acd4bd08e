"""The accelerated M3GNet is the plain one, computed with less work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import cscl, double, iron, make_batch, nacl, skewed, small_encoder, supercell

from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.encoders.acceleration import accelerate, decelerate

pytestmark = pytest.mark.pyg

METHODS = ("edge_update_", "node_update_")


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
    "energy": {"is_intensive": False},
    "weighted_atom": {"readout_type": "weighted_atom"},
    "set2set": {"readout_type": "set2set"},
}


def everything(encoder: Encoder, batch) -> dict[str, torch.Tensor]:
    """Features, output, forces, stresses, and the gradients of a loss on all of them."""
    encoder.zero_grad()
    found = encoder.train()(batch, forces=True, stresses=True)
    loss = found.output.square().sum() + found.forces.square().sum() + 0.01 * found.stresses.square().sum()
    (loss + sum(x.square().mean() for x in (*found.node, *found.edge))).backward()
    values = {"output": found.output, "forces": found.forces, "stresses": found.stresses}
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
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_it_gives_the_same_outputs_forces_stresses_and_gradients(crystals, dtype, tolerance):
    encoder = small_encoder("M3GNet", **MODELS["energy"]).to(dtype)
    make = make_batch if dtype == torch.float32 else double
    batch = make(encoder, CRYSTALS[crystals])
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, tolerance)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "energy"])
def test_it_holds_for_other_readouts(model):
    encoder = small_encoder("M3GNet", **MODELS[model]).double()
    batch = double(encoder, CRYSTALS["batch"])
    expected = everything(encoder, batch)
    accelerate(encoder.model)
    assert_close(everything(encoder, batch), expected, 1e-10)


def test_the_state_dict_and_what_is_saved_stay_what_they_were(tmp_path):
    import matgl

    encoder = small_encoder("M3GNet")
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    assert accelerate(encoder.model) is encoder.model
    after = encoder.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, before[k]) for k, value in after.items())
    encoder.model.save(tmp_path / "saved")
    loaded = matgl.load_model(tmp_path / "saved")
    assert not any(method in vars(block.conv) for block in loaded.graph_layers for method in METHODS)


def test_decelerate_restores_matgls_own_code():
    encoder = small_encoder("M3GNet")
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        expected = encoder(batch).output
        accelerate(encoder.model)
        assert all(method in vars(block.conv) for block in encoder.model.graph_layers for method in METHODS)
        assert decelerate(encoder.model) is encoder.model
        assert not any(method in vars(block.conv) for block in encoder.model.graph_layers for method in METHODS)
        assert torch.equal(encoder(batch).output, expected)


def test_accelerating_twice_is_accelerating_once():
    encoder = small_encoder("M3GNet")
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        once = accelerate(encoder.model) and encoder(batch).output
        twice = accelerate(encoder.model) and encoder(batch).output
    assert torch.equal(once, twice)


def test_a_model_with_a_state_is_left_alone_and_still_right():
    encoder = small_encoder("M3GNet", include_state=True, dim_state_embedding=4, ntypes_state=2)
    batch, state = make_batch(encoder, CRYSTALS["batch"]), torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        expected = encoder(batch, state=state).output
        accelerate(encoder.model)
        assert not any(method in vars(block.conv) for block in encoder.model.graph_layers for method in METHODS)
        assert torch.equal(encoder(batch, state=state).output, expected)


def test_other_architectures_are_left_alone():
    encoder = small_encoder("MEGNet")
    batch = make_batch(encoder, CRYSTALS["batch"])
    with torch.no_grad():
        expected = encoder(batch).output
        assert torch.equal(Encoder(decelerate(accelerate(encoder.model)))(batch).output, expected)
