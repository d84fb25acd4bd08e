"""The same function with the same parameters, computed with less work; one file an architecture.

Methods of MatGL's modules are shadowed on the instances, and nothing else changes: not the modules, not their names,
not what is saved. PyG lane only: MatGL 2's convolutions call into DGL.
"""

from __future__ import annotations

from typing import Any

from matgl import models

from matgl_ssl._lane import LANE
from matgl_ssl.encoders.architectures import bare_model

_SHADOWED = ("forward", "edge_update_", "node_update_")


def accelerate(model: Any) -> Any:
    """Make an M3GNet or MEGNet of the PyG lane faster, in place; other models are returned as they are.

    Parameters, ``state_dict`` and what is saved stay what they were; outputs and gradients differ by rounding alone.

    Args:
        model: A MatGL model, bare or inside a ``Potential``.

    Returns:
        The model.
    """
    bare = bare_model(model)
    if LANE == "pyg" and isinstance(bare, models.M3GNet):
        from .m3gnet import accelerate_m3gnet

        accelerate_m3gnet(bare)
    elif LANE == "pyg" and isinstance(bare, models.MEGNet):
        from .megnet import accelerate_megnet

        accelerate_megnet(bare)
    return model


def decelerate(model: Any) -> Any:
    """Undo ``accelerate``. Returns the model."""
    for module in model.modules():
        for method in _SHADOWED:
            module.__dict__.pop(method, None)
    return model
