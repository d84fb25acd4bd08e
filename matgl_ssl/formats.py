"""The formats of what is kept on disk, and how a file of an older one becomes one of today.

A file says the number of its format and the version that wrote it. Files of version 0.1 say neither: they are format 1.
A reader hands over what it read, and ``upgrade`` brings it to today's format in memory, one function a number. Whoever
changes what a kind of file means adds a function here; the current number counts them. ``tests/fixtures`` holds files
of earlier versions, which every later one must read.

Caches hold no number. Their names are hashes of everything that determines what is in them, so that one in another
format has another name: it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from matgl_ssl._version import __version__
from matgl_ssl.errors import DataError, MatGLSSLError, ModelError, RunDirectoryError

Kind = Literal["config", "environment", "facts", "checkpoint", "stamp", "unit", "archive", "manifest"]
Content = dict[str, Any]

_OPTIONS = {"depth_lr_factor": "layer_decay"}
_RECIPES = {"best": "textbook", "best-labels": "textbook-labels"}
_LOSSES = {"l1": "mae", "l2": "mse"}


def _config_2(config: Content) -> Content:
    """Version 0.2 renamed options, losses and recipes, and no longer splits by row numbers unless told to."""
    config = _with_current_names({_OPTIONS.get(name, name): value for name, value in config.items()})
    if "pretexts" in config:
        config["pretexts"] = [{**p, "arguments": _with_current_names(p["arguments"])} for p in config["pretexts"]]
    return {"split": "shuffle", **config} if "target" in config else config


def _environment_2(environment: Content) -> Content:
    """Version 0.2 says backend where 0.1 said lane."""
    return {"backend" if name == "lane" else name: value for name, value in environment.items()}


def _unit_2(unit: Content) -> Content:
    """Version 0.2 keeps what identifies a benchmark's unit, and what computed it."""
    return {"where": {}, "facts": {}, "made_with": "matgl_ssl 0.1.0", **unit}


def _archive_2(archive: Content) -> Content:
    """Version 0.2 keeps facts that many units share once."""
    return {"facts": {"": {}}, "units": [_unit_2(unit) | {"facts": ""} for unit in archive["units"]]}


def _stamp_3(stamp: Content) -> Content:
    """Version 0.3 names its reference crystals, and has a digest of the files that it is in."""
    return {**stamp, "references": {r["id"]: r["prediction"] for r in stamp["references"]}}


def _with_current_names(content: Content) -> Content:
    """Version 0.2's names of losses and recipes."""
    tables = {"loss": _LOSSES, "recipe": _RECIPES}
    return {k: tables[k].get(v, v) if k in tables and isinstance(v, str) else v for k, v in content.items()}


_STEPS: dict[Kind, tuple[Callable[[Content], Content], ...]] = {
    "config": (_config_2,),
    "environment": (_environment_2,),
    "facts": (),
    "checkpoint": (),
    "stamp": (_with_current_names, _stamp_3),
    "unit": (_unit_2,),
    "archive": (_archive_2,),
    "manifest": (),
}
"""For each kind of file, the functions from format 1 to 2, from 2 to 3, and so on."""
_ERRORS: dict[Kind, type[MatGLSSLError]] = {"stamp": ModelError, "manifest": DataError}


def current(kind: Kind) -> int:
    """The number of today's format."""
    return 1 + len(_STEPS[kind])


def header(kind: Kind) -> Content:
    """What a file of today says first."""
    return {"format": current(kind), "written_by": f"matgl_ssl {__version__}"}


def upgrade(kind: Kind, content: Mapping[str, Any], where: object) -> Content:
    """The content of a file in today's format, without its header.

    Args:
        kind: What the file is.
        content: What was read from it, which is not changed.
        where: The file, for messages.

    Raises:
        RunDirectoryError: If a later version wrote it in a format of its own, or its number is none.
        ModelError: The same, for a stamp.
        DataError: The same, for a prepared corpus.
    """
    content = dict(content)
    number, writer = content.pop("format", 1), str(content.pop("written_by", "a later version"))
    error = _ERRORS.get(kind, RunDirectoryError)
    if type(number) is not int or number < 1:
        raise error(f"{where}: format {number!r} is no number of a format. The file was changed or is damaged.")
    if number > current(kind):
        raise error(
            f"{where} is of format {number}, written by {writer}, and matgl_ssl {__version__} reads formats up to "
            f"{current(kind)}: use it with {writer} or later (pip install --upgrade matgl_ssl)."
        )
    for step in _STEPS[kind][number - 1 :]:
        content = step(content)
    return content
