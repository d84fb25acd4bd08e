"""The same function with the same parameters, computed with less work.

Modules of a model become instances of subclasses of their own classes (``fast_class.py``); nothing else changes: not
their names, not what is saved. PyG backend only: MatGL 2's convolutions call into DGL. ``accelerate`` and
``decelerate`` are the entry points of this package.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from matgl_ssl._backend import BACKEND, MATGL_VERSION
from matgl_ssl.encoders.architectures import bare_model, recognise

from .guard import VARIABLE, Guard, Mode, asked, say_once

__all__ = ["VARIABLE", "Mode", "accelerate", "decelerate", "use", "using"]

P = ParamSpec("P")
T = TypeVar("T")

TESTED = ("4.1",)
"""Minor versions of MatGL that the tests run with (``constraints/pyg.txt``)."""


def accelerate(model: Any, mode: Mode | None = None) -> Any:
    """Make a model of the PyG backend faster, in place, if there is faster code for its architecture.

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
    wanted = asked(mode)
    bare = bare_model(model)
    if wanted == "off":
        return decelerate(model)
    architecture = recognise(bare)
    if BACKEND != "pyg" or architecture is None or architecture.acceleration is None:
        return model
    if wanted is None and not MATGL_VERSION.startswith(tuple(f"{minor}." for minor in TESTED)):
        say_once(
            f"Models run MatGL's own, slower code: matgl_ssl was tested with matgl {', '.join(TESTED)}, not with "
            f"{MATGL_VERSION}. {VARIABLE}=native runs faster code where it agrees with MatGL's."
        )
        return decelerate(model)
    name = architecture.name
    try:
        room = import_module(architecture.acceleration)
    except (ImportError, AttributeError) as error:  # MatGL's private modules
        say_once(f"{name} runs MatGL's own, slower code: matgl {MATGL_VERSION} was changed ({error}).")
        return model
    fast = {c.plain: c for c in room.FASTER}
    for module in bare.modules():
        faster = fast.get(vars(type(module)).get("plain", type(module)))
        if faster is not None and faster.fits(module):
            module.__class__ = faster
            module._guard = Guard(name, mode)
    return model


def decelerate(model: Any) -> Any:
    """Undo ``accelerate``. Returns the model."""
    for module in model.modules():
        if "plain" in vars(type(module)):
            module.__class__ = type(module).plain
            vars(module).pop("_guard", None)
    return model


def using(verb: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that calls ``use``, whose effect then ends with the function."""

    @wraps(verb)
    def call(*args: P.args, **options: P.kwargs) -> T:
        before = os.environ.get(VARIABLE)
        try:
            return verb(*args, **options)
        finally:
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before

    return call


def use(mode: Mode | None) -> None:
    """Run all models in this mode, those excepted that were accelerated with another one as an argument.

    Processes that are started from now on do the same.

    Args:
        mode: The mode; None changes nothing.

    Raises:
        ConfigError: If it is another word.
    """
    if asked(mode) and mode:
        os.environ[VARIABLE] = mode
