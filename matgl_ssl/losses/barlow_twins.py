"""Barlow Twins: the two views' dimensions agree, and say different things."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .distributed import gather

_EPS = 1e-10  # of a variance: far above its rounding error, far below what any projector gives


def barlow_twins(
    first: Tensor, second: Tensor, *, off_diagonal: float = 0.0051, normalise_rows: bool = False
) -> Tensor:
    """``sum_i (1 - C_ii)² + off_diagonal * sum_(i != j) C_ij²``, C the dimensions' correlation over the whole batch.

    Zbontar et al., ICML 2021 (arXiv 2103.03230), on crystals as in Crystal Twins (Magar et al., npj Comput. Mater. 8,
    231 (2022); RishikeshMagar/Crystal-Twins), whose code first scales each crystal's vector to length one. Always
    divided by the crystals there are, also in a smaller last batch.

    Args:
        first: Vectors of the first views, ``(B, d)``.
        second: Vectors of the second views, in the same order.
        off_diagonal: Weight of the redundancy term.
        normalise_rows: Scale each vector to length one first, as published for Crystal Twins.
    """
    first, second = (_standardised(gather(z), normalise_rows) for z in (first, second))
    correlation = first.T @ second / len(first)
    on_diagonal = (1 - correlation.diagonal()).square().sum()
    others = ~torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    return on_diagonal + off_diagonal * correlation[others].square().sum()


def _standardised(z: Tensor, normalise_rows: bool) -> Tensor:
    if normalise_rows:
        z = functional.normalize(z)
    z = z - z.mean(0)
    return z / (z.square().mean(0) + _EPS).sqrt()
