"""Names of version 0.1 that version 0.2 still takes, with a warning; version 0.3 will not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = {"depth_lr_factor": "layer_decay"}
RECIPES = {"best": "textbook", "best-labels": "textbook-labels"}
LOSSES = {"l1": "mae", "l2": "mse"}
EXPORTS = {"node_embedded": "build_negnn"}
"""Names that ``matgl_ssl`` itself exports."""
ERRORS = {"LaneError": "BackendError"}


def current(name: str, renamed: Mapping[str, str]) -> str:
    """Today's name of something; warns if ``name`` is its old one.

    Args:
        name: A name from a user or a file.
        renamed: One of the tables above, from old names to new ones.
    """
    if name not in renamed:
        return name
    message = f"{name!r} is now called {renamed[name]!r}; the old name works in this version for the last time."
    warnings.warn(message, FutureWarning, stacklevel=3)
    return renamed[name]


def current_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run under today's names."""
    return {current(name, OPTIONS): value for name, value in options.items()}


def _current_loss(name: Any) -> Any:
    return current(name, LOSSES) if isinstance(name, str) else name


LossName = Annotated[Literal["mae", "mse", "huber"], BeforeValidator(_current_loss)]
"""Mean absolute error, mean squared error, or Huber's loss (quadratic below 1, linear above)."""


def renamed_keywords(**renamed: str) -> Callable[[F], F]:
    """Let a function take keywords under their old names, too.

    Args:
        **renamed: Old names and the new ones.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def with_old_names(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **{current(name, renamed): value for name, value in kwargs.items()})

        return cast("F", with_old_names)

    return decorate
