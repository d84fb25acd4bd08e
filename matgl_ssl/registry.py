"""What is chosen by name: ours and that of other installed packages, through one entry-point group a kind.

The group of a kind is ``matgl_ssl.<kind>``. Nothing is imported until it is asked for.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from matgl_ssl.errors import ConfigError, unknown

KINDS = {
    "pretexts": "matgl_ssl.pretexts:Pretext",
    "targets": "matgl_ssl.targets:Target",
    "views": "matgl_ssl.views:View",
    "architectures": "matgl_ssl.encoders:Architecture",
    "recipes": "",
    "teachers": "",
}
"""The kinds, and the class that what is registered must derive from (an architecture is an instance of it)."""

Spec = str | dict[str, dict[str, Any]]
"""A name, or a name with keyword arguments: ``mask-atoms``, ``{mask-atoms: {fraction: 0.2}}``."""


def package_of(point: EntryPoint) -> str:
    """Name and version of the package that registers an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def names(kind: str) -> list[str]:
    """The registered names of a kind, sorted."""
    return sorted(_points(kind))


def find(kind: str, name: str) -> EntryPoint:
    """The entry point of a name.

    Raises:
        ConfigError: If no installed package registers the name, or two do.
    """
    points = _points(kind).get(name)
    if points is None:
        raise unknown(kind.removesuffix("s"), name, _points(kind))
    if len(points) > 1:
        raise ConfigError(_claimed_twice(kind, points))
    return points[0]


@cache
def load(kind: str, name: str) -> Any:
    """Import what is registered under a name.

    Raises:
        ConfigError: As ``find``; and if it cannot be imported, or is not what the kind asks for.
    """
    point = find(kind, name)
    try:
        found = point.load()
    except Exception as err:
        raise ConfigError(f"{_described(kind, point)} cannot be imported: {err}") from err
    base = resolve_name(KINDS[kind]) if KINDS[kind] else object
    if not (issubclass(found, base) if isinstance(found, type) else base is object or isinstance(found, base)):
        raise ConfigError(f"{_described(kind, point)} is not a {base.__name__} ({point.value}).")
    return found


def build(kind: str, spec: Spec, *args: Any, **arguments: Any) -> Any:
    """Make what is registered under a name.

    Args:
        kind: Its kind.
        spec: Its name, with keyword arguments if there are any.
        *args: Positional arguments, which are ours (the encoder of a pretext).
        **arguments: Further keyword arguments.

    Raises:
        ConfigError: As ``load``; and if it does not take one of the arguments, or needs another.
    """
    name, given = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    cls, arguments = load(kind, name), {**given, **arguments}
    signature = inspect.signature(cls)
    known = list(signature.parameters.values())[len(args) :]
    for argument in arguments:
        if argument not in (p.name for p in known) and all(p.kind is not p.VAR_KEYWORD for p in known):
            what = f"argument of {kind.removesuffix('s')} {name!r}:"
            raise unknown(what, argument, [p.name for p in known if p.kind is not p.VAR_POSITIONAL])
    try:
        signature.bind(*args, **arguments)
    except TypeError as err:
        raise ConfigError(f"{kind.removesuffix('s').capitalize()} {name!r}: {err}.") from None
    return cls(*args, **arguments)


class Registered(Mapping[str, Any]):
    """Everything of a kind by name, imported when it is asked for; what cannot be is left out, with a warning."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return load(self._kind, name)

    def __contains__(self, name: object) -> bool:
        return name in names(self._kind)

    def __iter__(self) -> Iterator[str]:
        for name in names(self._kind):
            try:
                load(self._kind, name)
            except ConfigError as err:
                warnings.warn(str(err), stacklevel=2)
            else:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def _points(kind: str) -> Mapping[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"matgl_ssl.{kind}"):
        found.setdefault(point.name, []).append(point)
    return found


def _described(kind: str, point: EntryPoint) -> str:
    return f"{kind.removesuffix('s').capitalize()} {point.name!r} of {package_of(point)}"


def _claimed_twice(kind: str, points: list[EntryPoint]) -> str:
    packages = " and ".join(sorted(map(package_of, points)))
    return f"{packages} both register a {kind.removesuffix('s')} {points[0].name!r}: uninstall one of them."
