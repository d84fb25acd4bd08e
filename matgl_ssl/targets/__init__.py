"""Targets: what a structure alone determines, computed once and stored beside the crystals, one a file."""

from __future__ import annotations

from .compute import with_targets
from .target import Target

__all__ = ["Target", "with_targets"]
