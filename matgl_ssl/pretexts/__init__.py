"""Pretexts: questions that need no labels, one a file."""

from __future__ import annotations

from .mixture import Mixture
from .pretext import Pretext, PretextOutput, TrainedOutput, build_pretext

__all__ = ["Mixture", "Pretext", "PretextOutput", "TrainedOutput", "build_pretext"]
