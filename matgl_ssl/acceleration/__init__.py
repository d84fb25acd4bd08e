"""The same function with the same parameters, computed with less work.

Modules of a model become instances of subclasses of their own classes (``fast_class.py``); nothing else changes: not
their names, not what is saved. PyG backend only: MatGL 2's convolutions call into DGL.
"""

from __future__ import annotations

from typing import Any

from matgl import models

from matgl_ssl._backend import BACKEND
from matgl_ssl.encoders.architectures import bare_model


def accelerate(model: Any) -> Any:
    """Make an M3GNet or MEGNet of the PyG backend faster, in place; other models are returned as they are.

    Parameters, ``state_dict`` and what is saved stay what they were; outputs and gradients differ by rounding alone.
    Rounding of positions is part of that: where no forces are asked for, what symmetry makes equal is computed once,
    and lengths within 2e-5 Å of each other (in float32; never 7e-5 Å apart) count as equal.
    Copies (``copy.deepcopy``) and pickles are plain models.

    Args:
        model: A MatGL model, bare or inside a ``Potential``.

    Returns:
        The model.
    """
    bare = bare_model(model)
    if BACKEND == "pyg" and isinstance(bare, models.M3GNet | models.MEGNet):
        from .m3gnet import M3GNET
        from .megnet import MEGNET
        from .perceptrons import PERCEPTRONS

        fast = {c.plain: c for c in (*PERCEPTRONS, *(M3GNET if isinstance(bare, models.M3GNet) else MEGNET))}
        for module in bare.modules():
            faster = fast.get(type(module))
            if faster is not None and faster.fits(module):
                module.__class__ = faster
    return model


def decelerate(model: Any) -> Any:
    """Undo ``accelerate``. Returns the model."""
    for module in model.modules():
        module.__class__ = getattr(type(module), "plain", type(module))
    return model
