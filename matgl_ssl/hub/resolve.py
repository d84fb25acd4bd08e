"""From what a user names to a directory that holds a MatGL model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matgl_ssl._folders import previous_folder
from matgl_ssl.errors import HubError, ModelError, did_you_mean

from .files import FILES
from .remote import fetch, split_name
from .shipped import shipped_folder, shipped_names

EXPORTS = ("model", "potential", "encoder")
"""What a run directory can hold."""

MATGL_ORG = "materialyze"
"""Hugging Face organisation that MatGL looks bare names up in."""


def is_model_directory(path: Path) -> bool:
    """Whether a directory holds the triple."""
    return all((path / name).is_file() for name in FILES)


def resolve(source: str | Path, *, prefer: Sequence[str] = EXPORTS) -> Path:
    """Find the directory of a saved model.

    Args:
        source: A model directory, a run directory, a shipped encoder's name (``list_models``), or a hub name:
            ``OWNER/NAME``, ``OWNER/NAME@REVISION``, or a bare name of MatGL's own. The hub's are looked up in MatGL's
            cache first, so that they work offline once downloaded, and stay what they were: ``pull`` fetches the
            newest.
        prefer: Which export of a run directory to take, first one present.

    Raises:
        ModelError: If there is no such model, with what was looked for and what is near. It is a ``HubError`` for what
            looks like a hub name.
    """
    if not str(source).strip():
        raise ModelError("No model: --model (model=) is empty. Name a model directory, a run directory or a hub name.")
    path = Path(source)
    for place in (path, *(path / name for name in prefer)):
        for folder in (place, previous_folder(place)):
            if is_model_directory(folder):
                return folder
    if path.is_dir():
        others = [name for name in EXPORTS if is_model_directory(path / name)]
        if others:
            raise ModelError(
                f"The run in {path} has exported {' and '.join(others)}, but no {' or '.join(prefer)}. A potential "
                "comes from pretraining M3GNet's energy (derivative-denoising, energy-force-stress); "
                "MEGNet's output is intensive, and a potential's energy is a sum over atoms."
            )
        if (path / "config.yaml").exists():
            raise ModelError(f"The run in {path} has exported no model: it did not finish. Continue it with --resume.")
        raise ModelError(f"{path} is neither a model directory ({', '.join(FILES)}) nor a run directory.")
    name = str(source)
    if (found := shipped_folder(name)) is not None:
        return found
    on_hub = split_name(name if "/" in name else f"{MATGL_ORG}/{name}")
    if on_hub is None or (path.parent != Path() and path.parent.is_dir()):
        raise ModelError(f"There is no model at {source}.{_near(path)}")
    try:
        return fetch(*on_hub)
    except HubError as err:
        near = did_you_mean(name, shipped_names()) or _near(path)
        raise HubError(f"{name!r} is not a local path and not an architecture. {err}{near}") from err


def _near(path: Path) -> str:
    """What may have been meant instead of a path that does not exist."""
    names = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, names, lambda name: path.parent / name)
