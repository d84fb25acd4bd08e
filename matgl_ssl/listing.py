"""What there is to choose from, and which package it comes from."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import random

from matgl_ssl import registry
from matgl_ssl._backend import BACKEND
from matgl_ssl._version import __version__
from matgl_ssl.encoders import Architecture, Encoder
from matgl_ssl.errors import ConfigError
from matgl_ssl.hub import new_model, read_stamp, shipped_names
from matgl_ssl.recipes import SUMMARY, read_recipe


class Listed(NamedTuple):
    """One thing to choose.

    Attributes:
        summary: Its one-line description.
        package: Name and version of the package that brings it.
    """

    summary: str
    package: str


def available(kind: str) -> dict[str, Listed]:
    """Everything of a kind that is installed here.

    What cannot be used is left out, with a warning that names its package.

    Args:
        kind: ``"pretexts"``, ``"targets"``, ``"views"``, ``"recipes"``, ``"architectures"``, ``"teachers"`` or
            ``"models"``.
    """
    if kind == "models":
        return {name: Listed(summary, f"matgl_ssl {__version__}") for name, summary in list_models().items()}
    found = {}
    for name in registry.names(kind):
        try:
            thing = read_recipe(name) if kind == "recipes" else registry.load(kind, name)
        except ConfigError as err:
            warnings.warn(str(err), stacklevel=2)
        else:
            found[name] = Listed(_summary(thing), registry.package_of(registry.find(kind, name)))
    return found


def listed(what: str) -> str:
    """A line for each thing of a kind, as ``mgl-ssl list`` prints them; architectures are called encoders there."""
    found = available("architectures" if what == "encoders" else what)
    if not found:
        return f"No installed package registers {what}."
    names, packages = max(map(len, found)), max(len(each.package) for each in found.values())
    return "\n".join(f"{name:<{names}}  {each.package:<{packages}}  {each.summary}" for name, each in found.items())


def list_pretexts() -> dict[str, str]:
    """Names and one-line descriptions of the pretexts of all installed packages."""
    return _summaries("pretexts")


def list_targets() -> dict[str, str]:
    """Names and one-line descriptions of the targets of all installed packages."""
    return _summaries("targets")


def list_views() -> dict[str, str]:
    """Names and one-line descriptions of the views of all installed packages."""
    return _summaries("views")


def list_recipes() -> dict[str, str]:
    """Names and one-line descriptions of the recipes of all installed packages."""
    return _summaries("recipes")


def list_encoders() -> dict[str, str]:
    """Names and one-line descriptions, with MatGL's defaults, of the architectures that can be pretrained."""
    return _summaries("architectures")


def list_teachers() -> dict[str, str]:
    """Names and one-line descriptions of the teachers that installed packages register; others can be named, too."""
    return _summaries("teachers")


def list_models(pattern: str = "*") -> dict[str, str]:
    """Names and one-line descriptions of the pretrained encoders that come with matgl_ssl for this graph library.

    Whatever takes a model takes such a name: ``StructureFeaturizer("MEGNet-textbook")``.

    Args:
        pattern: Shell pattern that a name must match: ``"MEGNet*"``.
    """
    return {name: _pretrained(read_stamp(name)) for name in shipped_names(pattern)}


def _pretrained(stamp: Mapping[str, Any]) -> str:
    n, steps = stamp["n_crystals"], stamp.get("steps")
    trained = f"{stamp['architecture']} by recipe {stamp['recipe']} on {n:,} crystals"
    return f"{trained}, {steps:,} steps" if steps else trained


def _summaries(kind: str) -> dict[str, str]:
    return {name: listed.summary for name, listed in available(kind).items()}


def _summary(thing: Any) -> str:
    if isinstance(thing, dict):
        return str(thing.get(SUMMARY, ""))
    if isinstance(thing, Architecture):
        return _described(thing)
    return getattr(thing, "summary", "") or (inspect.getdoc(thing) or "").partition("\n")[0]


def _described(architecture: Architecture) -> str:
    if BACKEND not in architecture.backends:
        return f"not with MatGL on {BACKEND.upper()}"
    with random.fork_rng(devices=[]):
        encoder = Encoder(new_model(architecture.name))
    output = "intensive or energy" if architecture.extensive else "intensive"
    n_weights = sum(p.numel() for p in encoder.model.parameters())
    return (
        f"cutoff {encoder.cutoff:g} Å, layers 0 to {encoder.n_layers}, {encoder.node_dim} numbers an atom, "
        f"{n_weights / 1e3:.0f}k weights, {len(encoder.element_types)} elements, output {output}"
    )
