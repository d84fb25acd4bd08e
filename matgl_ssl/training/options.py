"""Give a function the keyword signature of a configuration, so that help, editors and the CLI agree."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

from pydantic_core import PydanticUndefined

from matgl_ssl.config import Config

F = TypeVar("F", bound=Callable[..., object])


def with_options(config: type[Config]) -> Callable[[F], F]:
    """Replace ``**options`` in a function's visible signature by the fields of a configuration."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {p.name for p in own}
        fields = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.is_required() else _default(field),
                annotation=field.annotation,
            )
            for name, field in config.model_fields.items()
            if name not in names
        ]
        function.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
        return function

    return decorate


def _default(field: object) -> object:
    default = field.get_default(call_default_factory=True)  # type: ignore[attr-defined]
    return None if default is PydanticUndefined else default
