"""Finished pieces of a fit: small files that a killed fit finds again, named by a hash of what determines them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matgl_ssl._files import digest, file_digest, write_text
from matgl_ssl._folders import atomic_folder
from matgl_ssl.errors import ModelError
from matgl_ssl.formats import is_intact, signed, upgrade

logger = logging.getLogger(__name__)


class Units:
    """A folder of finished pieces, each a JSON file, with a folder of the same name for what else was kept of it.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> dict[str, Any] | None:
        """A finished piece; None if there is none, or it is damaged."""
        path = self.folder / f"{name}.json"
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            content = None
        if not is_intact("member", content, path) or any(
            not (self.folder / name / file).is_file() for file in content["files"]
        ):
            logger.warning("%s is damaged: it is computed again.", path)
            path.unlink(missing_ok=True)
            return None
        return upgrade("member", content, path)

    def keep(self, name: str, content: Mapping[str, Any], save: Callable[[Path], None] | None = None) -> dict[str, Any]:
        """Write a piece down; its JSON file comes last, in one move.

        Args:
            name: From ``unit_name``.
            content: JSON.
            save: Writes what else is to be kept into an empty folder.
        """
        files = {}
        if save is not None:
            with atomic_folder(self.folder / name) as folder:
                folder.mkdir(parents=True)
                save(folder)
                files = digests(folder)
        whole = {**content, "files": files}
        write_text(self.folder / f"{name}.json", json.dumps(signed("member", whole)))
        return whole

    def verified(self, name: str, files: Mapping[str, str]) -> Path:
        """The folder of a piece whose files are what they were.

        Raises:
            ModelError: If one was changed, or is missing.
        """
        return verified_folder(self.folder / name, files)


def unit_name(label: str, facts: Mapping[str, Any]) -> str:
    """The name of a piece: words for people, and a hash of all that determines it."""
    return f"{slug(label)}-{digest([json.dumps(facts, sort_keys=True, default=str)], 16)}"


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "x"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def verified_folder(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder whose files are what they were.

    Raises:
        ModelError: If one was changed, or is missing.
    """
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing. Put it back, or fit again: the same command computes it again.")
        if file_digest(path) != expected:
            raise ModelError(f"{path} was changed after it was written. Put it back, or remove it and fit again.")
    return folder
