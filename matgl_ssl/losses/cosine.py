"""Positives only: the two views of a crystal point the same way."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .distributed import global_mean


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """``mean(1 - cos(z1, z2))`` over crystals (DSSL, arXiv 2401.05223; usccolumbia/DSSL).

    Nothing keeps the vectors of different crystals apart: alone, it is at its minimum when all are the same.

    Args:
        first: Vectors of the first views, ``(B, d)``.
        second: Vectors of the second views, in the same order.
    """
    return global_mean(1 - functional.cosine_similarity(first, second))
