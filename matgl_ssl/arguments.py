"""Arguments held to their annotations, so that no class checks its own choices and ranges by hand.

YAML reads ``1e-1`` as text and a tuple as a list: what fits is converted, and what does not is a ``ConfigError``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from types import SimpleNamespace
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

from matgl_ssl.errors import ConfigError, did_you_mean

Share = Annotated[float, Field(gt=0, lt=1)]
"""A number between 0 and 1, both excluded."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor convert and check its keyword-only arguments."""

    @wraps(init)
    def checking(self: Any, *args: Any, **kwargs: Any) -> None:
        kinds = _keywords(init)
        init(self, *args, **{k: _fitting(self, k, v, kinds[k]) if k in kinds else v for k, v in kwargs.items()})

    return checking


def check_fields(instance: Any) -> None:
    """Convert and check the fields of a dataclass, frozen or not, in its ``__post_init__``."""
    kinds = _fields(type(instance))  # type: ignore[arg-type] # a class can be hashed
    for field in fields(instance):
        value = _fitting(instance, field.name, getattr(instance, field.name), kinds[field.name])
        object.__setattr__(instance, field.name, value)


@cache
def _keywords(init: Callable[..., None]) -> dict[str, TypeAdapter[Any]]:
    keywords = {p.name for p in inspect.signature(init).parameters.values() if p.kind is p.KEYWORD_ONLY}
    wanted = {name: kind for name, kind in init.__annotations__.items() if name in keywords}
    return _adapters(get_type_hints(SimpleNamespace(__annotations__=wanted), init.__globals__, include_extras=True))


@cache
def _fields(cls: type) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    return _adapters({field.name: hints[field.name] for field in fields(cls)})


def _adapters(hints: dict[str, Any]) -> dict[str, TypeAdapter[Any]]:
    config = ConfigDict(arbitrary_types_allowed=True)
    instance: Any = InstanceOf  # of a dataclass, pydantic would else rebuild the fields
    return {
        name: TypeAdapter(instance[kind]) if is_dataclass(kind) else TypeAdapter(kind, config=config)
        for name, kind in hints.items()
    }


def _fitting(owner: Any, name: str, value: Any, kind: TypeAdapter[Any]) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError as err:
        problem = err.errors()[0]
    where = ".".join(map(str, [name, *problem["loc"]]))
    choices = re.findall(r"'([^']*)'", problem.get("ctx", {}).get("expected", ""))
    raise ConfigError(
        f"{type(owner).__name__}: {where} {problem['msg'].replace('Input should', 'must')}, not {problem['input']!r}."
        + did_you_mean(str(problem["input"]), choices)
    )
