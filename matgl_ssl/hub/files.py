"""The files of a saved model, read once: what is checked is what is loaded, even if the folder changes meanwhile."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matgl_ssl import _files
from matgl_ssl.errors import ModelError

from .limits import check_archive

FILES = ("model.pt", "state.pt", "model.json")
"""The triple that MatGL writes for every model."""

KEY = "matgl_ssl"
"""Where in ``model.json``'s metadata the stamp lies."""

_LARGEST_JSON = 16_000_000


@dataclass(frozen=True)
class ModelFiles:
    """The bytes of the three files of a saved model.

    Attributes:
        folder: Where they were read.
        content: The bytes of each of ``FILES``.
    """

    folder: Path
    content: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> ModelFiles:
        """Read them."""
        return cls(folder, {name: (folder / name).read_bytes() for name in FILES})

    @cached_property
    def description(self) -> dict[str, Any]:
        """What ``model.json`` holds.

        Raises:
            ModelError: If it is no description of a model.
        """
        return read_description(self.folder / "model.json", self.content["model.json"])

    def digest(self) -> str:
        """Hash of weights, architecture and stamp: of all that the files hold, but the digest in the stamp itself."""
        description = copy.deepcopy(self.description)
        description["metadata"][KEY].pop("digest", None)
        text = json.dumps(description, sort_keys=True)
        return _files.digest([self.content["model.pt"], self.content["state.pt"], text])

    def archive(self, name: str) -> io.BytesIO:
        """One of torch's two archives, for ``torch.load``.

        Raises:
            ModelError: If it is none, or one that torch would take long to read, or much memory.
        """
        file = io.BytesIO(self.content[name])
        try:
            check_archive(file)
        except ValueError as err:
            raise ModelError(f"{self.folder / name} was not read: {err}. Fetch or export the model again.") from err
        file.seek(0)
        return file


def read_description(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """What a ``model.json`` holds.

    Args:
        path: The file.
        content: Its bytes, if they were read before.

    Raises:
        ModelError: If it is not JSON, too large or too deep to be a model's, or holds something else.
    """
    content = path.read_bytes() if content is None else content
    if len(content) > _LARGEST_JSON:
        raise ModelError(f"{path} has {len(content)} bytes; the description of a model takes {_LARGEST_JSON} at most.")
    try:
        description = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise ModelError(f"{path} is not JSON: {err}. Fetch or export the model again.") from err
    if not isinstance(description, dict):
        raise ModelError(f"{path} does not describe a MatGL model. Fetch or export the model again.")
    return description
