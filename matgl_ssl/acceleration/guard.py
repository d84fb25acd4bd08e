"""Which code runs when a faster class is called: its own, or MatGL's.

Faster classes read the weights of inner modules without calling these. Whatever else an inner module does (hooks,
LoRA layers, parametrizations, mixed precision) would have no effect. So a module that was changed runs MatGL's code.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from matgl_ssl.errors import unknown

from . import compiler
from .self_check import difference

Mode = Literal["off", "torch", "native"]
"""MatGL's own code; less work through torch's operations; the same compiled."""

_KNOWN_MODULES = ("torch.nn.modules.", "matgl.")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

VARIABLE = "MATGL_SSL_ACCELERATION"
"""Environment variable that says how to accelerate where no argument does."""

log = logging.getLogger(__name__)


def asked(mode: Mode | None = None) -> Mode | None:
    """The mode that an argument asks for, or else the environment; None where neither does.

    Raises:
        ConfigError: If it is another word.
    """
    word: Any = mode or os.environ.get(VARIABLE) or None
    if word not in (None, *get_args(Mode)):
        raise unknown("acceleration" if mode else f"value of {VARIABLE}:", word, get_args(Mode))
    return word


class _Pass(threading.local):
    mode: Mode | None = None
    """Of the pass that this thread is in; None outside of one."""


_now = _Pass()


def current_mode() -> Mode | None:
    """The mode of the pass that this thread is in; None outside of one."""
    return _now.mode


@contextmanager
def forced(mode: Mode) -> Iterator[None]:
    """Run faster classes in this mode, unchecked."""
    before, _now.mode = _now.mode, mode
    try:
        yield
    finally:
        _now.mode = before


def guarded(fast: Callable[..., Any]) -> Callable[..., Any]:
    """A forward method that is ``fast`` or MatGL's own. The outermost module chooses, and inner ones follow it."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _now.mode is None:
            with forced(_choose(self)):
                return forward(self, *args, **kwargs)
        return (self.plain.forward if _now.mode == "off" else fast)(self, *args, **kwargs)

    return forward


class Guard:
    """Remembers how an accelerated module was, so that a look at each call is quick.

    Args:
        architecture: Name of the architecture that the module belongs to.
        mode: The mode that was asked for, by an argument.
    """

    def __init__(self, architecture: str, mode: Mode | None) -> None:
        self.architecture, self.mode = architecture, mode
        self._inner: list[nn.Module] | None = None

    def objection(self, module: nn.Module) -> str | None:
        """Why MatGL's own code must run; None where the faster one may."""
        if any(map(torch.is_autocast_enabled, ("cpu", "cuda", "mps"))):
            return "autocast is on"
        if _has_any_global_hook():
            return "a hook is registered for all modules"
        if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
            return "it is being traced"
        if self._inner is None or not self._is_as_before():
            found = _change(module)
            self._remember(module if found is None else None)
            return found
        return None

    def _remember(self, module: nn.Module | None) -> None:
        self._inner = None if module is None else [m for m in module.modules() if m is not module]
        if module is None or self._inner is None:
            return
        self._types = list(map(type, self._inner))
        self._children = [m._modules for m in (module, *self._inner) if m._modules]
        self._were = [list(children.values()) for children in self._children]
        self._own = list(map(vars, self._inner))
        self._hooks = [getattr(m, hooks) for m in self._inner for hooks in _HOOKS]

    def _is_as_before(self) -> bool:
        return (
            list(map(type, self._inner or ())) == self._types
            and [list(children.values()) for children in self._children] == self._were
            and not any("forward" in own for own in self._own)
            and not any(map(_is_foreign, chain.from_iterable(map(dict.values, filter(None, self._hooks)))))
        )


def _choose(module: Any) -> Mode:
    """The mode in which a module runs now."""
    guard: Guard | None = vars(module).get("_guard")
    if guard is None or "plain" not in vars(type(module)):  # a subclass that torch's parametrizations made
        return "off"
    wanted = asked(guard.mode)
    if wanted == "off":
        return "off"
    objection = guard.objection(module)
    if objection is None:
        device = next((p.device.type for p in module.parameters()), "cpu")
        compiled = wanted != "torch" and device == "cpu" and compiler.library() is not None
        mode: Mode = "native" if compiled else "torch"
        objection = difference(guard.architecture, device, mode)
        if objection is None:
            return mode
    say_once(f"{guard.architecture} runs MatGL's own, slower code: {objection}.")
    return "off"


@cache
def say_once(message: str) -> None:
    """Warn, once in a process."""
    log.warning(message)


def _change(module: nn.Module) -> str | None:
    """What was done to inner modules that the faster code would not notice."""
    inner = dict(module.named_modules())
    for path, of in inner.items():
        if of is module:
            continue
        if any(_is_foreign(hook) for hooks in _HOOKS for hook in getattr(of, hooks).values()):
            return f"{path} has hooks"
        if "forward" in vars(of):
            return f"{path} has a forward method of its own"
        if not type(of).__module__.startswith(_KNOWN_MODULES):
            return f"{path} is a {type(of).__module__}.{type(of).__name__}"
    for path, of in reversed(inner.items()):  # the innermost first
        if "plain" in vars(type(of)) and not type(of).fits(of):
            return f"{path or 'it'} has other layers than when it was accelerated"
    return None


def _is_foreign(hook: Any) -> bool:
    """Whether a hook may do more than ours: read features, or replace embeddings before anything is made of them."""
    return not getattr(hook, "__module__", "").startswith("matgl_ssl.")
