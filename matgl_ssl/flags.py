"""Command-line options made from the configurations, where each field is written once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.renamed import LOSSES, OPTIONS, current

if TYPE_CHECKING:
    from matgl_ssl.config import Config

DATA = "a file, a folder, a table, or a Hugging Face data set"
MODEL = "model directory, run directory, name of a shipped encoder (mgl-ssl list models) or of the hub (OWNER/NAME)"
ACCELERATION = "code of the models: compiled kernel (native), no compiling (torch), or MatGL's own (off)"
METAVARS = {
    **dict.fromkeys(("model", "init_from", "node_embedding_from", "teacher"), "MODEL"),
    **dict.fromkeys(("data", "val_data", "test_data", "exclude_formulas_of", "unlabelled"), "SOURCE"),
    **dict.fromkeys(("target", "split_column", "weight_column"), "COLUMN"),
    **dict.fromkeys(("energy_unit", "force_unit", "stress_unit", "unit"), "UNIT"),
    **dict.fromkeys(("out", "runs"), "DIR"),
    **dict.fromkeys(("cluster",), "ADDRESS"),
    "recipe": "NAME|FILE", "encoders": "MODEL,...", "accelerator": "NAME", "devices": "INT|NAME",
}  # fmt: skip
"""What the help calls the value of an option, where its type says too little."""
STATE = "for a model that was trained with state labels (such as fidelities), the label"


def number_or_text(value: str) -> int | str:
    """What may be either."""
    return int(value) if value.lstrip("-").isdigit() else value


def _yaml(value: str) -> Any:
    from matgl_ssl.config import plain_yaml

    try:
        return plain_yaml(value, value)
    except ConfigError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def add_run(parser: argparse.ArgumentParser, config: type[Config], *, resumes: bool = False) -> None:
    """The options of a verb that writes a run directory.

    Args:
        parser: The verb's parser.
        config: The verb's configuration.
        resumes: Whether ``--resume`` continues a run.
    """
    text = "directory to write; it must be new or empty"
    parser.add_argument("--out", required=True, metavar="DIR", help=f"{text}, unless the run in it is continued")
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these options; those given here win")
    text = "report crystals, batches, passes, time and memory, measured by a few real steps; write nothing to --out"
    parser.add_argument("--dry-run", action="store_true", help=text)
    if resumes:
        parser.add_argument("--resume", action="store_true", help="continue the run in --out exactly where it stopped")
    add_fields(parser, config)


def add_fields(parser: argparse.ArgumentParser, config: type[Config]) -> None:
    """An option for each field; those not given stay out of the result, so that recipe and file can set them."""
    titles = {name: title for title, names in config.SECTIONS.items() for name in names}
    groups = {title: parser.add_argument_group(title) for title in config.SECTIONS}
    for name in [*titles, *(name for name in config.model_fields if name not in titles)]:
        field = config.model_fields[name]
        flags = [f"--{name.replace('_', '-')}", *(["-m"] if name == "model" else [])]
        text = f"{field.description} [{_default(config, name)}]".replace("%", "%%")
        kind = _argument_kind(field.annotation)
        if "metavar" in kind:
            kind["metavar"] = METAVARS.get(name, kind["metavar"])
        add = (groups[titles[name]] if name in titles else parser).add_argument
        add(*flags, dest=name, default=argparse.SUPPRESS, help=text, **kind)
        for old in (old for old, new in OPTIONS.items() if new == name):
            add(f"--{old.replace('_', '-')}", dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind)


def _default(config: type[Config], name: str) -> str:
    """What holds where an option is not given."""
    field = config.model_fields[name]
    if field.is_required() or name == "data":
        return "required"
    if name in config.DEFAULTS:
        return f"default: {config.DEFAULTS[name]}"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return f"default: {'yes' if value else 'no'}"
    if isinstance(value, list):
        return f"default: {', '.join(map(str, value))}"
    return f"default: {value:,}" if isinstance(value, int) else f"default: {value}"


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
    text = "graph library of a model that matgl_ssl did not save [default: as the model says]"
    parser.add_argument("--trained-with", choices=("pyg", "dgl"), help=text)


def add_inference(parser: argparse.ArgumentParser) -> None:
    """The flags of verbs that run a model."""
    add_trained_with(parser)
    parser.add_argument("--batch-size", type=int, default=64, metavar="INT", help="crystals in a batch [default: 64]")
    text = "where the model runs: auto, cpu, gpu, cuda or mps [default: auto, CUDA if there is any, else the CPU]"
    parser.add_argument("--accelerator", default="auto", metavar="NAME", help=text)
    text = "which device, for example cuda:1 [default: the first]"
    parser.add_argument("--devices", type=number_or_text, default=1, metavar="INT|NAME", help=text)
    text = f"{ACCELERATION} [default: what MATGL_SSL_ACCELERATION says, else native]"
    parser.add_argument("--acceleration", choices=("off", "torch", "native"), help=text)
