"""Models that MatGL does not have, made of its own; ``matgl.load_model`` loads them where matgl_ssl is installed."""

from __future__ import annotations

from typing import Any

from . import negnn
from .negnn import NEGNN, build_negnn

__all__ = ["NEGNN", "build_negnn"]


def __getattr__(name: str) -> Any:
    """``M3GNetNEGNN`` and the like, one for each architecture."""
    return getattr(negnn, name)
