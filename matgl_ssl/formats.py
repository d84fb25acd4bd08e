"""The formats of what is kept on disk, and how a file of an older one becomes one of today.

A file says the number of its format and the version that wrote it. Files of version 0.1 say neither: they are format 1.
A reader hands over what it read, and ``upgrade`` brings it to today's format in memory, one function a number. Whoever
changes what a kind of file means adds a function here; the current number counts them. ``tests/fixtures`` holds files
of earlier versions, which every later one must read.

Files that ``signed`` made hold a digest of all else in them, and ``verified`` refuses what was changed. Stamps have one
of the whole model (``hub.files``), checkpoints torch's own, and caches end with theirs (``_seals``).

Caches hold no number. Their names are hashes of everything that determines what is in them, so that one in another
format has another name: it is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from matgl_ssl._files import digest
from matgl_ssl._version import __version__
from matgl_ssl.errors import DataError, MatGLSSLError, ModelError, RunDirectoryError

Kind = Literal[
    "config", "environment", "facts", "checkpoint", "stamp", "unit", "archive", "manifest", "ensemble", "member"
]
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


def _config_4(config: Content) -> Content:
    """Where ``init_from`` said nothing, fine-tuning started from random weights, as it no longer does."""
    return {**config, "init_from": config.get("init_from") or "scratch"} if "target" in config else config


def _environment_2(environment: Content) -> Content:
    """Version 0.2 says backend where 0.1 said lane."""
    return {"backend" if name == "lane" else name: value for name, value in environment.items()}


def _unit_2(unit: Content) -> Content:
    """Version 0.2 keeps what identifies a benchmark's unit, and what computed it."""
    return {"where": {}, "facts": {}, "made_with": "matgl_ssl 0.1.0", **unit}


def _archive_2(archive: Content) -> Content:
    """Version 0.2 keeps facts that many units share once."""
    return {"facts": {}, **archive}


def _stamp_3(stamp: Content) -> Content:
    """Version 0.3 names its reference crystals, and has a digest of the files that it is in."""
    return {**stamp, "references": {r["id"]: r["prediction"] for r in stamp["references"]}}


def _signed(content: Content) -> Content:
    """Version 0.3 says the same, with a digest."""
    return content


def _with_current_names(content: Content) -> Content:
    """Version 0.2's names of losses and recipes."""
    tables = {"loss": _LOSSES, "recipe": _RECIPES}
    return {k: tables[k].get(v, v) if k in tables and isinstance(v, str) else v for k, v in content.items()}


_STEPS: dict[Kind, tuple[Callable[[Content], Content], ...]] = {
    "config": (_config_2, _signed, _config_4),
    "environment": (_environment_2, _signed),
    "facts": (_signed,),
    "checkpoint": (),
    "stamp": (_with_current_names, _stamp_3),
    "unit": (_unit_2, _signed),
    "archive": (_archive_2, _signed),
    "manifest": (_signed,),
    "ensemble": (_signed,),
    "member": (_signed,),
}
"""For each kind of file, the functions from format 1 to 2, from 2 to 3, and so on."""
_ERRORS: dict[Kind, type[MatGLSSLError]] = {"stamp": ModelError, "manifest": DataError, "ensemble": ModelError}


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
    number = _number(kind, content, where)
    first = ("format", "written_by", *(["digest"] if _signed in _STEPS[kind] else []))  # a stamp's is of more than it
    content = {name: value for name, value in content.items() if name not in first}
    for step in _STEPS[kind][number - 1 :]:
        content = step(content)
    return content


def signed(kind: Kind, content: Mapping[str, Any]) -> Content:
    """What a file of today holds: header, digest, and content, all as JSON has it."""
    whole: Content = json.loads(json.dumps({**header(kind), **content}, default=str))
    return {**header(kind), "digest": _digest(whole), **whole}


def is_intact(kind: Kind, content: Any, where: object) -> bool:
    """Whether content is what ``signed`` made, or looks like an earlier version's, which had no digest.

    Raises:
        MatGLSSLError: As ``upgrade``.
    """
    if not isinstance(content, Mapping) or not content:
        return False
    must = _number(kind, content, where) > 1 + _STEPS[kind].index(_signed)
    return content["digest"] == _digest(content) if "digest" in content else not must


def verified(kind: Kind, content: Any, where: object) -> Content:
    """``upgrade`` of what is intact.

    Raises:
        RunDirectoryError: If it is not what was written, or as ``upgrade``.
        DataError: The same, for a prepared corpus.
    """
    if is_intact(kind, content, where):
        return upgrade(kind, content, where)
    raise _ERRORS.get(kind, RunDirectoryError)(
        f"{where} is damaged, or was edited: it is not what matgl_ssl wrote (its digest is another). Put the file back "
        "as it was, or start again without it."
    )


def _digest(content: Mapping[str, Any]) -> str:
    """Of all but the digest itself, in its order."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    return digest([json.dumps(rest, default=str, skipkeys=True)], 16)


def _number(kind: Kind, content: Mapping[str, Any], where: object) -> int:
    number, writer = content.get("format", 1), str(content.get("written_by", "a later version"))
    error = _ERRORS.get(kind, RunDirectoryError)
    if type(number) is not int or number < 1:
        raise error(f"{where}: format {number!r} is not a format number. The file was changed or is damaged.")
    if number > current(kind):
        raise error(
            f"{where} is of format {number}, written by {writer}, and matgl_ssl {__version__} reads formats up to "
            f"{current(kind)}: use it with {writer} or later (pip install --upgrade matgl_ssl)."
        )
    return number
