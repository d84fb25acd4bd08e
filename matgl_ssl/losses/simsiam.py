"""SimSiam: each view predicts the other, which stands still."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .distributed import global_mean


def simsiam(first: Tensor, second: Tensor, predicted_second: Tensor, predicted_first: Tensor) -> Tensor:
    """``-(cos(p1, sg z2) + cos(p2, sg z1)) / 2`` over crystals, ``sg`` the stop-gradient.

    Chen & He, CVPR 2021 (arXiv 2011.10566), eq. 4; between -1 and 1.

    Args:
        first: Projected vectors z1 of the first views, ``(B, d)``.
        second: Projected vectors z2 of the second views.
        predicted_second: p1, what the predictor makes of z1.
        predicted_first: p2, what it makes of z2.
    """
    there = functional.cosine_similarity(predicted_second, second.detach())
    back = functional.cosine_similarity(predicted_first, first.detach())
    return -global_mean((there + back) / 2)
