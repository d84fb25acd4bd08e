"""What a MatGL model of any kind puts out for a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from matgl_ssl.backends import CrystalBatch, Potential, backend
from matgl_ssl.encoders import Encoder, bare_model, no_state, release

_DERIVATIVES = ("calc_forces", "calc_stresses", "calc_hessian", "debug_mode")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode and, when the block ends, each of its modules back into the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def model_output(model: nn.Module, batch: CrystalBatch, state: Tensor | None = None) -> Tensor:
    """The prediction of a bare model, a ``TransformedTargetModel`` or a ``Potential`` (its energy, eV).

    Args:
        model: The model, in whatever mode it is in.
        batch: The crystals.
        state: State attribute of each crystal, for models that take one.

    Returns:
        One value a crystal, shape ``(B,)``.
    """
    if isinstance(model, Potential):
        return _energy(model, batch, state)
    output = Encoder(model)(batch, state=state).output
    transformer = getattr(model, "transformer", None)
    return transformer.inverse_transform(output) if transformer is not None else output


def _energy(potential: Any, batch: CrystalBatch, state: Tensor | None) -> Tensor:
    # A shallow copy shares all modules: the derivatives are switched off for it, not for the caller's potential.
    energy_only = copy.copy(potential)
    for name in _DERIVATIVES:
        setattr(energy_only, name, False)
    parameter = next(potential.parameters())
    bare = bare_model(potential)
    state = no_state(bare, len(batch)) if state is None else state.to(parameter.device)
    energies = backend.run_potential(energy_only, batch.to(parameter.device, parameter.dtype), state)[0]
    release(bare)
    return energies.reshape(-1)
