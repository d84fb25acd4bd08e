"""Whether two names mean the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from matgl_ssl._files import digest

from .files import ModelFiles
from .resolve import EXPORTS, resolve


def fingerprint(source: str | Path | nn.Module, *, prefer: Sequence[str] = EXPORTS) -> str:
    """Hash of a saved model's files: what is computed with it is cached under this, not under its name.

    Args:
        source: A model directory, run directory or hub name; or a model, whose weights count.
        prefer: Which export of a run directory to take.

    Raises:
        ModelError: If there is none.
    """
    if isinstance(source, nn.Module):
        weights = source.state_dict().items()
        return digest((name.encode() + w.detach().cpu().numpy().tobytes() for name, w in weights), 16)
    content = ModelFiles.read(resolve(source, prefer=prefer)).content
    return digest((content[name] for name in ("model.json", "model.pt", "state.pt")), 16)
