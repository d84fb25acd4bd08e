"""Pretexts: questions that need no labels, one a file."""

from __future__ import annotations

from .mixture import Mixture
from .pretext import Pretext, PretextOutput, TrainedOutput
from .registry import build_pretext, get_pretext, list_pretexts

__all__ = ["Mixture", "Pretext", "PretextOutput", "TrainedOutput", "build_pretext", "get_pretext", "list_pretexts"]
