"""Limits on what a model file may ask to be built, before anything is built.

A file of some kilobytes can ask for ten million blocks, or name one list within another so often that whoever walks
through it never ends.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules import module as registration

from matgl_ssl.errors import ModelError

_LARGEST_PICKLE = 500_000
"""Bytes that torch unpickles in Python: some thousand tensors, where MatGL's models have some hundred."""

_MOST_SHARED = 32
"""Times that a tuple may be named again: by this much it cannot unfold far, when it is hashed as a key."""

_NAMED = re.compile(r"(torch|numpy)\b.*|collections OrderedDict|_codecs encode|matgl\.data\.transformer \w+")
"""What a pickle of MatGL's names; torch itself lets more through, ``bytearray`` for one, that takes any memory."""

_DEEPEST = 50
_MOST_VALUES = 100_000
_USUAL = 100
"""A number that is no size may be as large: radial functions of a fixed basis, iterations of a pooling."""

_ORDERS, _HIGHEST = ("max_l", "lmax"), 10
"""Orders of expansions, whose formulas MatGL derives when it builds: its own models' are at most 4."""

_FARTHEST = 15.0
"""Largest cutoff in Å: neighbours, and the time to find them, grow with its third power."""


def check_archive(file: IO[bytes]) -> None:
    """Refuse what takes long to unpickle, or much memory, before it is unpickled.

    Args:
        file: One of torch's archives: a ZIP file that compresses nothing, with a pickle of what is not a tensor.

    Raises:
        ValueError: If it is no such archive, or its pickle is not like one of MatGL's.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed, which torch's archives never are")
            (pickled,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
            if pickled.file_size > _LARGEST_PICKLE:
                raise ValueError(f"it names far more than a model has ({pickled.file_size} bytes of names)")
            content = archive.read(pickled)
    except (zipfile.BadZipFile, RuntimeError, EOFError) as err:
        raise ValueError(f"it is damaged, or was cut short ({err})") from err
    tuples: set[Any] = set()
    shared, before = 0, ""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and not _NAMED.fullmatch(str(argument)):
            raise ValueError(f"it names {argument}, which no model of MatGL's has")
        if operation.name.endswith("PUT") and before.startswith("TUPLE"):
            tuples.add(argument)
        shared += operation.name.endswith("GET") and argument in tuples
        before = operation.name
    if shared > _MOST_SHARED:
        raise ValueError("it names a tuple again and again")


def values_within(name: str, arguments: Any) -> Iterator[Any]:
    """Every value of nested arguments, each container before what it holds.

    Args:
        name: The model, for messages.
        arguments: What a ``model.pt`` holds.

    Raises:
        ModelError: If there are more than a model has, counting what is named several times each time, or deeper.
    """
    pending, seen = [(arguments, 0)], 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        inside: Any = ()
        if isinstance(value, Mapping):
            inside = (*value.keys(), *value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            inside = value
        if seen + len(pending) + len(inside) > _MOST_VALUES or depth > _DEEPEST:
            raise ModelError(
                f"{name}: the arguments in model.pt hold more than {_MOST_VALUES} values, or are nested deeper than "
                f"{_DEEPEST}. No model of MatGL's needs as many. It was not built."
            )
        yield value
        pending += [(each, depth + 1) for each in inside]


def check_sizes(name: str, arguments: Any, weights: Mapping[str, Any]) -> None:
    """Refuse to build what the weights cannot fill: a number of layers or units beyond what ``state.pt`` holds.

    Args:
        name: The model, for messages.
        arguments: What its ``model.pt`` holds.
        weights: What its ``state.pt`` holds.

    Raises:
        ModelError: If an argument is larger than the number of weights and each of their dimensions.
    """
    stored = [w for w in weights.values() if isinstance(w, Tensor) and w.is_contiguous() and w.numel()]  # with content
    largest = max([_USUAL, len(stored), *(size for value in stored for size in value.shape)])
    for value in values_within(name, arguments):
        orders = [value.get(order) for order in _ORDERS] if isinstance(value, Mapping) else []
        if any(isinstance(order, int) and order > _HIGHEST for order in orders):
            raise ModelError(f"{name}: model.pt asks for an expansion beyond order {_HIGHEST}. It was not built.")
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if whole and abs(value) > largest:
            raise ModelError(
                f"{name}: model.pt asks for a size of {value}, and no weight in state.pt has more than {largest}. "
                "It was not built."
            )


@contextmanager
def no_more_than(name: str, weights: Mapping[str, Any], *, device: str = "meta") -> Iterator[None]:
    """Modules that are built within take no memory, and are no more than weights can fill.

    Thousands of layers are small numbers among the arguments. So what is registered is counted, on torch's device
    without content.

    Args:
        name: The model, for messages.
        weights: What its ``state.pt`` holds.
        device: Another one for modules that look at their numbers: these take memory until they are too many.

    Raises:
        ModelError: When there are more.
    """
    numbers = sum(w.numel() for w in weights.values() if isinstance(w, Tensor))
    left = {"modules": 1000 + 20 * len(weights), "numbers": 1_000_000 + 2 * numbers}

    def count(_module: Any, _name: str, value: Any) -> None:
        left["modules"] -= 1
        left["numbers"] -= value.numel() if isinstance(value, Tensor) else 0
        if min(left.values()) < 0:
            raise ModelError(f"{name}: model.pt asks for far more than state.pt holds. It was not built.")

    with ExitStack() as hooks, torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights have no place to be copied to
        for what in ("module", "parameter", "buffer"):
            hooks.callback(getattr(registration, f"register_module_{what}_registration_hook")(count).remove)
        yield


def check_reach(name: str, model: Any) -> None:
    """Refuse a model that would take forever to run: of a large cutoff, or with an element many times.

    Raises:
        ModelError: If it is one.
    """
    types = model.element_types
    if not 0 < model.cutoff <= _FARTHEST or len(set(types)) < len(types):
        raise ModelError(
            f"{name}: its cutoff is {model.cutoff} Å, for {len(types)} elements. A model's cutoff is at most "
            f"{_FARTHEST:g} Å, and it has each element once. It was not built."
        )
