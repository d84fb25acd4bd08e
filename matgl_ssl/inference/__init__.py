"""Use what was trained: predictions and embeddings."""

from __future__ import annotations

from .embed import Embeddings, embed
from .predict import Prediction, predict

__all__ = ["Embeddings", "Prediction", "embed", "predict"]
