"""Whether two names mean the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .resolve import EXPORTS, resolve


def fingerprint(source: str | Path, *, prefer: Sequence[str] = EXPORTS) -> str:
    """Hash of a saved model's files: what is computed with it is cached under this, not under its name.

    Args:
        source: A model directory, run directory or hub name.
        prefer: Which export of a run directory to take.

    Raises:
        ModelError: If there is none.
    """
    path = resolve(source, prefer=prefer)
    digest = hashlib.sha256()
    for name in ("model.json", "model.pt", "state.pt"):
        digest.update((path / name).read_bytes())
    return digest.hexdigest()[:16]
