"""Watch the crystal vectors for collapse: all crystals mapped to one point, or to a line."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def effective_rank(vectors: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli, EUSIPCO 2007).

    Args:
        vectors: One vector a crystal, shape ``(n, d)``.

    Returns:
        Between 0 (all vectors equal) and ``min(n, d)``.
    """
    centred = vectors.double() - vectors.double().mean(0)
    values = torch.linalg.svdvals(centred)
    if float(values.sum()) == 0:
        return 0.0
    p = values / values.sum()
    return float(torch.exp(-(p * torch.log(p.clamp(min=1e-300))).sum()))


def relative_std(vectors: Tensor) -> float:
    """Standard deviation over crystals, averaged over dimensions, relative to the vectors' root mean square."""
    vectors = vectors.double()
    scale = vectors.pow(2).mean().sqrt()
    return float(vectors.std(0).mean() / scale) if float(scale) > 0 else 0.0


class CollapseMonitor(L.Callback):
    """Log ``collapse_std`` and ``collapse_rank`` of the held-out crystals each epoch, and warn when they vanish.

    Args:
        min_std: Warn below this ``relative_std``.
        min_rank: Warn below this ``effective_rank``.
    """

    def __init__(self, min_std: float = 0.01, min_rank: float = 2.0) -> None:
        self.min_std = min_std
        self.min_rank = min_rank
        self._vectors: list[Tensor] = []

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Collect the crystal vectors of a held-out batch."""
        self._vectors.append(pl_module.crystal_vectors.detach().cpu())

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge them."""
        vectors, self._vectors = torch.cat(self._vectors), []
        if len(vectors) < 2:
            return
        std, rank = relative_std(vectors), effective_rank(vectors)
        pl_module.epoch_metrics |= {"collapse_std": std, "collapse_rank": rank}
        if std < self.min_std or rank < self.min_rank:
            logger.warning(
                "Representation collapse: over %d held-out crystals the vectors' relative standard deviation is %.2g "
                "and their effective rank %.2f. The encoder maps different crystals to nearly the same vector.",
                len(vectors), std, rank,
            )  # fmt: skip
