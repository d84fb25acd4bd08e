"""Checkpoint files: written beside their place, and read only if not a bit of them has changed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from matgl_ssl._files import atomic_path
from matgl_ssl.errors import RunDirectoryError


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's reader and writer of checkpoints. Its own goes through the temporary folder, which may be small."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file in one move; Lightning calls it in the first process only."""
        with atomic_path(path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a file, for Lightning."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    torch writes a zip archive and, with each tensor, its CRC-32, which it never looks at again: a bit that changed on
    the disk would be another weight.

    Raises:
        RunDirectoryError: If the file is damaged.
    """
    content = io.BytesIO(path.read_bytes())  # what was verified is what is loaded
    try:
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()
        if damaged:
            raise RunDirectoryError(f"{path} is damaged: {damaged} in it is not what was saved.")
        content.seek(0)
        return dict(torch.load(content, map_location="cpu", weights_only=True))
    except RunDirectoryError:
        raise
    except Exception as err:  # zipfile and torch raise whatever the damaged bytes make them
        raise RunDirectoryError(f"{path} is damaged: {type(err).__name__}: {err}") from err
