"""Losses of one number against another, by the names that options and recipes use."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "mae": functional.l1_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}
"""Mean absolute error, mean squared error, Huber's loss. Each takes ``reduction`` as torch's do."""
