"""Models that MatGL does not have, made of its own; ``matgl.load_model`` loads them where matgl_ssl is installed."""

from __future__ import annotations

from .negnn import NEGNN, M3GNetNEGNN, MEGNetNEGNN, build_negnn

__all__ = ["NEGNN", "M3GNetNEGNN", "MEGNetNEGNN", "build_negnn"]
