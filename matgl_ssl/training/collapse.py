"""Watch the crystal vectors for collapse: all crystals mapped to one point, to a line, or by composition alone."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from matgl_ssl.backends import EDGE_VECTOR, CrystalBatch
from matgl_ssl.errors import NonFiniteError
from matgl_ssl.losses import gather
from matgl_ssl.reporting.collapse import LIMITS, spectrum
from matgl_ssl.reporting.collapse import effective_rank as rank_of_spectrum

logger = logging.getLogger(__name__)

_ENOUGH = 8
"""Crystals below which the rank is too bounded by their number to be judged."""


def effective_rank(vectors: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli, EUSIPCO 2007).

    Args:
        vectors: One vector a crystal, shape ``(n, d)``.

    Returns:
        Between 0 (all vectors equal) and ``min(n, d)``.
    """
    return rank_of_spectrum(spectrum(vectors.double().cpu().numpy()))


def relative_std(vectors: Tensor) -> float:
    """Standard deviation over crystals, averaged over dimensions, relative to the vectors' root mean square."""
    vectors = vectors.double()
    scale = vectors.pow(2).mean().sqrt()
    return float(vectors.std(0).mean() / scale) if float(scale) > 0 else 0.0


def compressed(batch: CrystalBatch, factor: float = 0.95) -> CrystalBatch:
    """The same crystals with all lengths times ``factor``; the edges stay."""
    edge = {k: factor * v if k == EDGE_VECTOR else v for k, v in batch.edge.items()}
    return dataclasses.replace(batch, lattice=factor * batch.lattice, edge=edge)


def relative_change(before: Tensor, after: Tensor) -> float:
    """Root mean square change of the vectors, relative to their spread over crystals; 0 where there is none."""
    before, after = before.double(), after.double()
    spread = (before - before.mean(0)).norm()
    return float((after - before).norm() / spread) if float(spread) > 0 else 0.0


class CollapseMonitor(L.Callback):
    """Log three numbers of the held-out crystals' vectors each epoch, and warn when one vanishes.

    ``collapse_std`` (``relative_std``) and ``collapse_rank`` (``effective_rank``) vanish when different crystals get
    the same vector. ``collapse_structure`` (``relative_change`` when the crystals are compressed by 5 %, one more pass
    over them) vanishes when the structure has no say: a loss that only asks two views of a crystal to agree is at its
    minimum when the vectors follow the composition, which spread and rank do not see. How much of it is little depends
    on the architecture (a fresh MEGNet hardly sees distances), so that it is also compared with what it was before
    training.

    The defaults come from ``benchmarks/collapse.py``.

    Args:
        min_std: Warn below this ``collapse_std``.
        min_rank: Warn below this ``collapse_rank``.
        min_structure: Warn below this ``collapse_structure``, unless
        min_growth: it is this many times what it was before training.
    """

    def __init__(
        self,
        min_std: float = LIMITS["collapse_std"],
        min_rank: float = LIMITS["collapse_rank"],
        min_structure: float = LIMITS["collapse_structure"],
        min_growth: float = 2.0,
    ) -> None:
        self.min_std = min_std
        self.min_rank = min_rank
        self.min_structure = min_structure
        self.min_growth = min_growth
        self.structure_before: float | None = None
        self._vectors: list[Tensor] = []
        self._compressed: list[Tensor] = []

    def state_dict(self) -> dict[str, float | None]:
        """What a resumed run cannot measure any more."""
        return {"structure_before": self.structure_before}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Restore it."""
        self.structure_before = state_dict["structure_before"]

    @torch.no_grad()
    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure ``collapse_structure`` of the encoder as it comes."""
        if self.structure_before is not None:
            return
        training = pl_module.training
        pl_module.eval()
        pairs = []
        for batch in trainer.val_dataloaders:
            crystals = batch[0].to(pl_module.device)
            pairs.append([gather(_vectors(pl_module, b)) for b in (crystals, compressed(crystals))])
        pl_module.train(training)
        vectors, moved = (torch.cat(part) for part in zip(*pairs, strict=True))
        self.structure_before = relative_change(vectors, moved)

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: list[CrystalBatch], *args: Any, **kwargs: Any
    ) -> None:
        """Collect the crystal vectors of a held-out batch, and those of the same crystals compressed."""
        self._vectors.append(gather(pl_module.crystal_vectors.detach().cpu()))
        self._compressed.append(gather(_vectors(pl_module, compressed(batch[0].to(pl_module.device)))))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge them."""
        vectors, moved = torch.cat(self._vectors), torch.cat(self._compressed)
        self._vectors, self._compressed = [], []
        if len(vectors) < 2:
            return
        if not torch.isfinite(vectors).all():
            raise NonFiniteError(
                "The encoder's vectors of held-out crystals are not finite: training diverged. Lower --lr, or --clip."
            )
        std, rank, structure = relative_std(vectors), effective_rank(vectors), relative_change(vectors, moved)
        pl_module.epoch_metrics |= {"collapse_std": std, "collapse_rank": rank, "collapse_structure": structure}
        verdict = self.verdict(std, rank if len(vectors) >= _ENOUGH else math.inf, structure)
        if verdict == "representation":
            logger.warning(
                "Representation collapse: over %d held-out crystals the vectors' relative standard deviation is %.2g "
                "and their effective rank %.2f. The encoder maps different crystals to nearly the same vector.",
                len(vectors), std, rank,
            )  # fmt: skip
        elif verdict == "structural":
            logger.warning(
                "Structural collapse: compressing the %d held-out crystals by 5 %% moves their vectors by %.2g of "
                "their spread (before training: %.2g). The encoder sees the composition and hardly the structure.",
                len(vectors), structure, self.structure_before or 0.0,
            )  # fmt: skip

    def verdict(self, std: float, rank: float, structure: float) -> Literal["representation", "structural"] | None:
        """Which kind of collapse the numbers of an epoch are, if any."""
        if std < self.min_std or rank < self.min_rank:
            return "representation"
        if structure < self.min_structure and structure < self.min_growth * (self.structure_before or 0.0):
            return "structural"
        return None


def _vectors(pl_module: Any, batch: CrystalBatch) -> Tensor:
    return batch.mean_over_atoms(pl_module.encoder(batch).node[-1]).cpu()
