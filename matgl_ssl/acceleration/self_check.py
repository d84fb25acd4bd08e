"""Comparing faster code with the installed MatGL's own, once in a process, on small models with random weights.

MatGL's forward passes are written again here, on modules that MatGL may change in any version. Without this comparison
a model would be trained on another function than its export computes.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matgl_ssl.backends import CrystalBatch, collate
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.encoders import ARCHITECTURES, Encoder

_ELEMENTS = ("Mg", "O")
_GAIN = 2.0
"""Factor on linear layers' weights. With fresh ones, what an atom hears from its neighbours drowns in the rounding."""
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Relative to the norm: a hundred times the rounding of these passes, and a thousandth of what another formula does."""
_FLOOR = 1e-3
"""Share of the largest tensor's norm below which a smaller one is rounding."""
_lock = threading.RLock()


def difference(architecture: str, device: str, mode: str) -> str | None:
    """What differs between faster code and MatGL's own; None where nothing does.

    Args:
        architecture: A name among ``matgl_ssl.encoders.ARCHITECTURES``.
        device: The type of the device.
        mode: ``"torch"`` or ``"native"``.
    """
    with _lock:
        return _difference(architecture, device, mode)


@cache
def _difference(architecture: str, device: str, mode: str) -> str | None:
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(0)
            for variant in import_module(str(ARCHITECTURES[architecture].acceleration)).VARIANTS:
                encoder, batch = _reference(architecture, variant)
                finest = torch.float64 if device in ("cpu", "cuda") else torch.float32
                for dtype, derived in (torch.float32, False), (finest, True):
                    found = _compared(encoder.to(device, dtype), batch, derived, mode)
                    if found is not None:
                        return f"{found} on {device} ({mode})"
    except Exception as error:  # whatever a changed MatGL raises
        return f"comparing faster code with it failed with {type(error).__name__}: {error}"
    return None


def _reference(architecture: str, arguments: dict[str, Any]) -> tuple[Encoder, CrystalBatch]:
    """A small accelerated model and two crystals: one whose atoms are copies of two, and one without copies."""
    from . import accelerate

    with torch.device("cpu"):
        model = ARCHITECTURES[architecture].cls(element_types=_ELEMENTS, **arguments).eval()
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.data.mul_(_GAIN)
        encoder = Encoder(accelerate(model, mode="native"))
        build = encoder.graph_builder()
        cubic = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) / 2
        moved = cubic + np.random.default_rng(0).normal(0, 0.02, cubic.shape)
        numbers, lattice = np.repeat([12, 8], 4), 4.2 * np.eye(3)
        return encoder, collate([build(Crystal(numbers, coords, lattice, id="MgO")) for coords in (cubic, moved)])


def _compared(encoder: Encoder, batch: CrystalBatch, derived: bool, mode: Any) -> str | None:
    """The first thing that differs, if any."""
    from .guard import forced

    with forced("off"):
        expected = _everything(encoder, batch, derived)
    with forced(mode):
        found = _everything(encoder, batch, derived)
    largest = max(float(x.norm()) for name, x in expected.items() if name.startswith("gradient"))
    for name, value in expected.items():
        floor = _FLOOR * largest if name.startswith("gradient") else 0.0
        error = float((found[name] - value).norm()) / max(float(value.norm()), floor)
        if not error < _TOLERANCE[encoder.dtype]:
            return f"{name} differ by {error:.1e} of their norm from MatGL's"
    return None


def _everything(encoder: Encoder, batch: CrystalBatch, derived: bool) -> dict[str, Tensor]:
    """Features and outputs, forces and stresses if ``derived``, and the gradients of a loss on them all."""
    found = encoder(batch, state=torch.arange(2), forces=derived, stresses=derived)
    values = {"outputs": found.output} | {f"node features {k}": x for k, x in enumerate(found.node)}
    values |= {f"edge features {k}": x for k, x in enumerate(found.edge)}
    if found.forces is not None and found.stresses is not None:
        values |= {"forces": found.forces, "stresses": found.stresses}
    loss = torch.stack([x.square().mean() for x in values.values()]).sum()
    names, weights = zip(*((name, p) for name, p in encoder.named_parameters() if p.requires_grad), strict=True)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    values |= {f"gradients of {name}": x for name, x in zip(names, gradients, strict=True) if x is not None}
    return {name: x.detach() for name, x in values.items()}
