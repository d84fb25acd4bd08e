"""What a MatGL model of any kind puts out for a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from matgl_ssl.backends import CrystalBatch, Potential, backend
from matgl_ssl.encoders import Encoder


def model_output(model: nn.Module, batch: CrystalBatch, state: Tensor | None = None) -> Tensor:
    """The prediction of a bare model, a ``TransformedTargetModel`` or a ``Potential`` (its energy, eV).

    Args:
        model: The model.
        batch: The crystals.
        state: State attribute of each crystal, for models that take one.

    Returns:
        One value a crystal, shape ``(B,)``, detached.
    """
    if isinstance(model, Potential):
        parameter = next(model.parameters())
        energies: Any = backend.run_potential(model, batch.to(parameter.device, parameter.dtype), state)[0]
        return energies.detach().reshape(-1)
    with torch.no_grad():
        output = Encoder(model)(batch, state=state).output
        transformer = getattr(model, "transformer", None)
        return transformer.inverse_transform(output) if transformer is not None else output
