"""Pretexts by name, ours and those of other installed packages, through one entry-point group."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ConfigError, unknown

from .pretext import Pretext

GROUP = "matgl_ssl.pretexts"


def list_pretexts() -> dict[str, type[Pretext]]:
    """Every pretext installed here. One that cannot be imported is left out, with a warning that names its package."""
    found: dict[str, type[Pretext]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            found[point.name] = point.load()
        except Exception as err:
            package = point.dist.name if point.dist else "an unknown package"
            warnings.warn(f"Pretext {point.name!r} of {package} cannot be imported: {err}", stacklevel=2)
    return found


def get_pretext(name: str) -> type[Pretext]:
    """A pretext's class.

    Raises:
        ConfigError: If no installed package registers the name.
    """
    pretexts = list_pretexts()
    if name not in pretexts:
        raise unknown("pretext", name, pretexts)
    return pretexts[name]


def build_pretext(name: str, encoder: Encoder, arguments: Mapping[str, Any]) -> Pretext:
    """Build a pretext for an encoder.

    Raises:
        ConfigError: If the name or one of the arguments is unknown, or an argument does not fit its annotation.
    """
    cls = get_pretext(name)
    valid = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for argument in arguments:
        if argument not in valid:
            raise unknown(f"argument of pretext {name!r}:", argument, valid)
    hints = get_type_hints(cls.__init__, include_extras=True)
    return cls(encoder, **{k: _fitting(f"{name}: {k}", v, hints.get(k, Any)) for k, v in arguments.items()})


def _fitting(what: str, value: Any, kind: Any) -> Any:
    """The value as the annotation wants it: YAML reads 1e-1 as text."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as err:
        raise ConfigError(f"{what}: {err.errors()[0]['msg']} (got {value!r}).") from None
