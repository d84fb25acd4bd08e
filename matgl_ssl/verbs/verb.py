"""What every verb of the command line has, and how results are printed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

from matgl_ssl.flags import data_of
from matgl_ssl.help import Parser


class Verb(NamedTuple):
    """A verb of the command line.

    Attributes:
        summary: Its line of help.
        example: A command that runs.
        add_options: Adds its options to a parser.
        run: Runs it with the options given.
        first: Names of the options that its short help shows; None to show all.
    """

    summary: str
    example: str
    add_options: Callable[[Parser], None]
    run: Callable[[dict[str, Any]], None]
    first: tuple[str, ...] | None = None


def add_json(parser: Parser, keys: str, *, plans: bool = False) -> None:
    """The flag of verbs that scripts read.

    Args:
        parser: The verb's parser.
        keys: What the document holds, for the help.
        plans: Whether the verb has ``--dry-run``.
    """
    more = "; with --dry-run the plan" if plans else ""
    parser.add_argument("--json", action="store_true", help=f"print JSON: {keys}{more}")


def run_or_plan(options: dict[str, Any], run: Callable[..., Any], plan: str) -> tuple[Any, bool]:
    """Run a verb, or with ``--dry-run`` print its plan.

    Args:
        options: What was given on the command line.
        run: The function of the verb.
        plan: Where the function is that takes the same arguments and only finds out what would be done, as
            ``module:function``. A run does not import it.

    Returns:
        The result, which is None after ``--dry-run``, and whether JSON is wanted.
    """
    wants_json, dry_run = options.pop("json"), options.pop("dry_run")
    result = (resolve_name(plan) if dry_run else run)(data=data_of(options), **options)
    if dry_run:
        show_plan(result, wants_json)
        return None, wants_json
    return result, wants_json


def show_plan(plan: Any, wants_json: bool) -> None:
    """Print what ``--dry-run`` found."""
    print(as_json(plan) if wants_json else plan)


def as_json(value: Any) -> str:
    """A result as a JSON document: dataclasses become objects, paths text, and NaN and infinities null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
