"""VICReg: invariance, kept from collapse by the variance and covariance of each view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .distributed import gather


def vicreg(
    first: Tensor, second: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Bardes et al., ICLR 2022 (arXiv 2105.04906), algorithm 1, over the whole batch.

    The mean squared difference of the views, and of each view how far the dimensions' standard deviations fall short
    of one (mean over dimensions) and the squared covariances between them (sum over dimensions / d).

    Args:
        first: Vectors of the first views, ``(B, d)``.
        second: Vectors of the second views, in the same order.
        invariance: Weight of the first term.
        variance: Weight of the second.
        covariance: Weight of the third.
    """
    first, second = gather(first), gather(second)
    return (
        invariance * functional.mse_loss(first, second)
        + variance * (_short_of_one(first) + _short_of_one(second))
        + covariance * (_shared(first) + _shared(second))
    )


def _covariance(z: Tensor) -> Tensor:
    z = z - z.mean(0)
    return z.T @ z / max(len(z) - 1, 1)


def _short_of_one(z: Tensor) -> Tensor:
    return functional.relu(1 - (_covariance(z).diagonal() + 1e-4).sqrt()).mean()


def _shared(z: Tensor) -> Tensor:
    others = ~torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
    return _covariance(z)[others].square().sum() / z.shape[1]
