"""Heads that read a computed target off a vector; their losses are shares of what knowing nothing costs.

Each loss is divided by that of an answer that does not look at the crystal (the mean of the training crystals, or their
frequencies of classes). So every head starts at about one, whatever its unit, and reaches zero where it is right. For
the mean absolute error the median is a better constant than the mean. Of a skewed target, a loss a little below one is
therefore learned without looking at the crystal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.losses import ELEMENTWISE, global_mean
from matgl_ssl.renamed import LossName

from .heads import perceptron

logger = logging.getLogger(__name__)

OUTLIER = 5.0
"""Standard deviations at which targets are clipped."""

_HIDDEN = 128


class TargetHead(nn.Module):
    """What heads share: a perceptron with one hidden layer, and the baseline.

    One hidden layer, so that the encoder's vectors, which may have fewer numbers than a target, need not hold it
    linearly.

    Args:
        name: The target's name, for messages.
        dim: Size of the vectors.
        n_outputs: Outputs of the perceptron.
    """

    def __init__(self, name: str, dim: int, n_outputs: int) -> None:
        super().__init__()
        self.name = name
        self.predict = perceptron(dim, _HIDDEN, n_outputs, activation=nn.SiLU)
        self.register_buffer("baseline", torch.ones(()))
        self.register_buffer("learnable", torch.ones(()))
        self.baseline: Tensor
        self.learnable: Tensor

    def _set_baseline(self, baseline: float) -> None:
        learnable = np.isfinite(baseline) and baseline > 0
        if not learnable:
            logger.warning("Target %s is missing or the same in all training crystals: it is left out.", self.name)
        self.learnable.fill_(float(learnable))
        self.baseline.fill_(baseline if learnable else 1.0)


class RegressionHead(TargetHead):
    """Predict standardised columns; what is missing (NaN) has no weight, and constant columns are left out.

    Args:
        name: The target's name.
        dim: Size of the vectors.
        size: Columns of the target.
        loss: ``"mae"``, ``"huber"`` (quadratic within one standard deviation) or ``"mse"``.
    """

    def __init__(self, name: str, dim: int, size: int, loss: LossName) -> None:
        super().__init__(name, dim, size)
        self.loss = partial(ELEMENTWISE[loss], reduction="none")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("varies", torch.ones(size, dtype=torch.bool))
        self.register_buffer("mean_deviation", torch.ones(()))
        self.mean: Tensor
        self.deviation: Tensor
        self.varies: Tensor
        self.mean_deviation: Tensor

    def fit(self, values: np.ndarray) -> None:
        """Take mean and standard deviation of each column ``(n, size)``, with outliers clipped, and the baselines."""
        mean, deviation = np.full((2, values.shape[1]), np.nan)
        present = np.isfinite(values).any(axis=0)
        kept = np.where(np.isfinite(values), values, np.nan)[:, present]
        for _ in range(3):  # an outlier widens the deviation that it is judged by
            center, spread = np.nanmean(kept, axis=0), np.nanstd(kept, axis=0)
            kept = np.clip(kept, center - OUTLIER * spread, center + OUTLIER * spread)
        mean[present], deviation[present] = center, spread
        varies = present & (deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6))
        self.varies.copy_(torch.from_numpy(varies))
        self.mean.copy_(torch.from_numpy(np.where(varies, mean, 0.0)))
        self.deviation.copy_(torch.from_numpy(np.where(varies, deviation, 1.0)))
        standard, weight = self.standardise(torch.from_numpy(values))
        known = standard[weight]
        self._set_baseline(float(self.loss(torch.zeros_like(known), known).mean()) if len(known) else np.nan)
        self.mean_deviation.fill_(float(known.abs().mean()) if len(known) else 1.0)

    def standardise(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Columns in clipped standard deviations from the mean, zero where missing, and where they are not."""
        standard = ((values - self.mean.to(values)) / self.deviation.to(values)).clamp(-OUTLIER, OUTLIER)
        weight = torch.isfinite(values) & self.varies
        return torch.where(weight, standard, 0.0), weight

    def forward(self, vectors: Tensor, values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of ``(n, dim)`` against ``(n, size)``, and the explained share: 1 - MAE / MAE of the mean."""
        target, weight = self.standardise(values.to(vectors.dtype))
        predicted = self.predict(vectors)
        loss = global_mean(self.loss(predicted, target), weight) / self.baseline
        share = global_mean(1 - (predicted.detach() - target).abs() / self.mean_deviation, weight)
        return self.learnable * loss, {"explained": share}


class ClassHead(TargetHead):
    """Predict a class; the baseline is the entropy of the training crystals' classes.

    Args:
        name: The target's name.
        dim: Size of the vectors.
        n_classes: Number of classes.
        class_of: Turns the target's column ``(n,)`` into classes from 0; it never sees NaN.
    """

    def __init__(self, name: str, dim: int, n_classes: int, class_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__(name, dim, n_classes)
        self.n_classes = n_classes
        self.class_of = class_of

    def fit(self, values: np.ndarray) -> None:
        """Count the classes of ``(n, 1)``."""
        column = torch.from_numpy(values[:, 0])
        counts = torch.bincount(self.class_of(column[torch.isfinite(column)]), minlength=self.n_classes).double()
        self._set_baseline(float(torch.special.entr(counts / counts.sum()).sum()))

    def forward(self, vectors: Tensor, values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of ``(n, dim)`` against ``(n, 1)``, and the accuracy."""
        known = torch.isfinite(values[:, 0])
        target = self.class_of(torch.where(known, values[:, 0], 1.0))
        logits = self.predict(vectors)
        loss = global_mean(functional.cross_entropy(logits, target, reduction="none"), known) / self.baseline
        correct = (logits.detach().argmax(1) == target).to(vectors.dtype)
        return self.learnable * loss, {"accuracy": global_mean(correct, known)}
