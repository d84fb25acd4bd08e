"""Command-line options out of the configuration: each field is written once, in ``training/config.py``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from matgl_ssl.errors import ConfigError, DataError, did_you_mean
from matgl_ssl.renamed import LOSSES, OPTIONS, current

if TYPE_CHECKING:
    from matgl_ssl.config import Config


def number_or_text(value: str) -> int | str:
    """What may be either."""
    return int(value) if value.lstrip("-").isdigit() else value


def _yaml(value: str) -> Any:
    from matgl_ssl.config import plain_yaml

    try:
        return plain_yaml(value, value)
    except ConfigError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def add_fields(parser: argparse.ArgumentParser, config: type[Config]) -> None:
    """An option for each field; those not given stay out of the result, so that recipe and file can set them."""
    group = parser.add_argument_group("options of the run (defaults hold where no file says more)")
    for name, field in config.model_fields.items():
        old = [old for old, new in OPTIONS.items() if new == name]
        flags = [*(f"--{each.replace('_', '-')}" for each in (name, *old)), *(["-m"] if name == "model" else [])]
        required = field.is_required() or name == "data"
        default = "required" if required else f"default: {field.get_default(call_default_factory=True)}"
        text = f"{field.description} ({default})".replace("%", "%%")
        kind = _argument_kind(field.annotation)
        group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, help=text, **kind)


def _argument_kind(annotation: Any) -> dict[str, Any]:
    """What argparse calls a type."""
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation), "type": partial(current, renamed=LOSSES)}
    if get_origin(annotation) in (dict, list):
        return {"type": _yaml, "metavar": "YAML"}
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if len(kinds) == 1:
        return _argument_kind(kinds[0])
    if kinds:
        return {"type": number_or_text, "metavar": "|".join(kind.__name__.upper() for kind in kinds)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": annotation, "metavar": annotation.__name__.upper()}


def refuse_unknown(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Stop at an unknown option, with the nearest one: argparse names it after what is missing, without suggestions."""
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option != "--" and option not in known:
            parser.error(f"unknown option {option}.{did_you_mean(option, known, str)}")


def refuse_empty(options: Mapping[str, Any]) -> None:
    """Stop at an option without a value, mostly an unset variable of the shell: as a path it is the working directory.

    Raises:
        ConfigError: Naming it. Of data, reading says what they may be.
    """
    for name, value in options.items():
        if value == "" and name not in ("data", "unit"):
            raise ConfigError(f"--{name.replace('_', '-')} is empty. Give it a value, or leave it out.")


def data_of(options: dict[str, Any]) -> str:
    """The data, from the flag, the file, or the run that is resumed; the option is taken out.

    Raises:
        DataError: If there are none.
    """
    from matgl_ssl.config import read_yaml
    from matgl_ssl.training.rundir import RunDirectory

    data = options.pop("data", None)
    if data is None and options["config"]:
        data = read_yaml(options["config"]).get("data")
    if data is None and options.get("resume"):
        data = RunDirectory(options["out"]).stored_config().get("data")
        if str(data).startswith("in memory"):
            raise DataError("This run was started from Python on structures in memory: resume it there, with data=.")
    if not data:
        raise DataError("No data: give --data a file, a folder, a table or a Hugging Face data set.")
    return str(data)


def add_trained_with(parser: argparse.ArgumentParser) -> None:
    """The flag of verbs that load a model."""
    parser.add_argument("--trained-with", choices=("pyg", "dgl"), help="graph library of a model without our stamp")


def add_inference(parser: argparse.ArgumentParser) -> None:
    """The flags of verbs that run a model."""
    add_trained_with(parser)
    parser.add_argument("--batch-size", type=int, default=64, metavar="INT", help="crystals in a batch (default: 64)")
    text = "where the model runs: auto, cpu, gpu, cuda or mps (default: auto)"
    parser.add_argument("--accelerator", default="auto", metavar="NAME", help=text)
    text = "which device (cuda:1) (default: the first)"
    parser.add_argument("--devices", type=number_or_text, default=1, metavar="INT|NAME", help=text)
    text = "run models through a compiled kernel (native), without it (torch), or MatGL's own code (off)"
    parser.add_argument("--acceleration", choices=("off", "torch", "native"), help=text)
