"""The same function with the same parameters, computed with less work.

Modules of a model become instances of subclasses of their own classes (``fast_class.py``); nothing else changes: not
their names, not what is saved. PyG backend only: MatGL 2's convolutions call into DGL. ``accelerate`` and
``decelerate`` are the room's entrance.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, get_args

from matgl import models

from matgl_ssl._backend import BACKEND, MATGL_VERSION
from matgl_ssl.encoders.architectures import architecture_of, bare_model
from matgl_ssl.errors import unknown

from .guard import Guard, Mode, say_once

__all__ = ["VARIABLE", "Mode", "accelerate", "decelerate"]

VARIABLE = "MATGL_SSL_ACCELERATION"
"""Environment variable that says how to accelerate where no argument does."""
TESTED = ("4.1",)
"""Minor versions of MatGL that the tests run with (``constraints/pyg.txt``)."""


def accelerate(model: Any, mode: Mode | None = None) -> Any:
    """Make an M3GNet or MEGNet of the PyG backend faster, in place; other models are returned as they are.

    Parameters, ``state_dict`` and what is saved stay what they were; outputs and gradients differ by rounding alone.
    Rounding of positions is part of that: where no forces are asked for, what symmetry makes equal is computed once,
    and lengths within 2e-5 Å of each other (in float32; never 7e-5 Å apart) count as equal.
    Copies (``copy.deepcopy``) and pickles are plain models.

    MatGL's own code runs instead, with one warning, under ``torch.autocast``, for models whose inner modules have hooks
    or were replaced (LoRA, parametrizations), and where a comparison with the installed MatGL, made once in a process,
    finds a difference.

    Args:
        model: A MatGL model, bare or inside a ``Potential``.
        mode: ``"native"`` compiles a kernel for the CPU with the machine's C++ compiler, ``"torch"`` does without, and
            ``"off"`` leaves the model, or makes it, plain MatGL. None is what the environment variable
            ``MATGL_SSL_ACCELERATION`` says; where that is not set, it is ``"native"`` for MatGL versions that
            matgl_ssl was tested with, and ``"off"`` for others.

    Returns:
        The model.

    Raises:
        ConfigError: If the mode is another word.
    """
    asked: Any = mode or os.environ.get(VARIABLE) or None
    if asked not in (None, *get_args(Mode)):
        raise unknown("acceleration" if mode else f"value of {VARIABLE}:", asked, get_args(Mode))
    bare = bare_model(model)
    if asked == "off":
        return decelerate(model)
    if BACKEND != "pyg" or not isinstance(bare, models.M3GNet | models.MEGNet):
        return model
    if asked is None and not MATGL_VERSION.startswith(tuple(f"{minor}." for minor in TESTED)):
        say_once(
            f"Models run MatGL's own, slower code: matgl_ssl was tested with matgl {', '.join(TESTED)}, not with "
            f"{MATGL_VERSION}. {VARIABLE}=native runs faster code where it agrees with MatGL's."
        )
        return decelerate(model)
    name = architecture_of(bare).name
    try:
        room = import_module(f".{name.lower()}", __name__)
    except (ImportError, AttributeError) as error:  # MatGL's private modules
        say_once(f"{name} runs MatGL's own, slower code: matgl {MATGL_VERSION} was changed ({error}).")
        return model
    fast = {c.plain: c for c in room.FASTER}
    for module in bare.modules():
        faster = fast.get(vars(type(module)).get("plain", type(module)))
        if faster is not None and faster.fits(module):
            module.__class__ = faster
            module._guard = Guard(name, asked or "native")
    return model


def decelerate(model: Any) -> Any:
    """Undo ``accelerate``. Returns the model."""
    for module in model.modules():
        if "plain" in vars(type(module)):
            module.__class__ = type(module).plain
            vars(module).pop("_guard", None)
    return model
