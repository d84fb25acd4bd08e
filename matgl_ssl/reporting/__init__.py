"""Pictures of runs: one HTML page each, which needs no network and no other file."""

from __future__ import annotations

from .crystals import ON_MAP, Kept, keep_crystals, sample
from .verb import draw, report

__all__ = ["ON_MAP", "Kept", "draw", "keep_crystals", "report", "sample"]
