"""From what a user names to a directory that holds a MatGL model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from matgl.config import MATGL_CACHE

from matgl_ssl._files import previous_folder
from matgl_ssl.errors import ModelError, did_you_mean

FILES = ("model.pt", "state.pt", "model.json")
"""The triple that MatGL writes for every model."""

EXPORTS = ("model", "potential", "encoder")
"""What a run directory can hold."""

MATGL_ORG = "materialyze"
"""Hugging Face organisation that MatGL looks bare names up in."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w\-.]*(/[\w\-.]+)?")


def is_model_directory(path: Path) -> bool:
    """Whether a directory holds the triple."""
    return all((path / name).is_file() for name in FILES)


def resolve(source: str | Path, *, prefer: Sequence[str] = EXPORTS) -> Path:
    """Find the directory of a saved model.

    Args:
        source: A model directory, a run directory, or a hub name (``owner/name``, or a bare name of MatGL's own),
            looked up in MatGL's cache first, so that it works offline once downloaded (and stays what it was:
            ``matgl.clear_cache()`` makes room for a newer one).
        prefer: Which export of a run directory to take, first one present.

    Raises:
        ModelError: If there is no such model, with what was looked for and what is near.
    """
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
            raise ModelError(f"The run in {path} has exported no model: it did not finish. Go on with --resume.")
        raise ModelError(f"{path} is neither a model directory ({', '.join(FILES)}) nor a run directory.")
    name = str(source)
    if not _HUB_NAME.fullmatch(name) or (path.parent != Path() and path.parent.is_dir()):
        raise ModelError(f"There is no model at {source}.{_near(path)}")
    repo = name if "/" in name else f"{MATGL_ORG}/{name}"
    try:
        files = _from_hub(repo)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as err:
        raise ModelError(
            f"{name!r} is not a local path and not an architecture, and the hub model {repo!r} cannot be had: "
            f"{err}{_near(path)}"
        ) from err
    if len({file.parent for file in files}) > 1:
        raise ModelError(f"The hub model {repo!r} changed while it was fetched. Try again.")
    return files[0].parent


def _from_hub(repo: str) -> list[Path]:
    cache = str(MATGL_CACHE)
    try:
        return [Path(hf_hub_download(repo, file, cache_dir=cache, local_files_only=True)) for file in FILES]
    except LocalEntryNotFoundError:
        return [Path(hf_hub_download(repo, file, cache_dir=cache)) for file in FILES]


def _near(path: Path) -> str:
    """What may have been meant instead of a path that does not exist."""
    names = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, names, lambda name: path.parent / name)
