"""NT-Xent: a crystal's other view is more like it than other crystals are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .distributed import gather

Denominator = Literal["all", "negatives"]


def nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.1, denominator: Denominator = "all") -> Tensor:
    """Normalised temperature-scaled cross entropy over the whole batch.

    ``denominator="all"`` is SimCLR's (Chen et al., ICML 2020, eq. 1): each of the 2B vectors against all others, its
    other view among them. ``"negatives"`` is that of GraphCL and of Kong et al. (arXiv 2211.03563), which leaves the
    positive out and compares first with second views only:
    ``mean_i -log(exp(s_ii / T) / sum_(j != i) exp(s_ij / T))``; zero for a batch of a single crystal.

    Args:
        first: Vectors of the first views, ``(B, d)``.
        second: Vectors of the second views, in the same order.
        temperature: T.
        denominator: What the positive is compared with.
    """
    first, second = (functional.normalize(gather(z)) for z in (first, second))
    n = len(first)
    if denominator == "all":
        z = torch.cat([first, second])
        similarity = _without_diagonal(z @ z.T / temperature)
        return functional.cross_entropy(similarity, torch.arange(2 * n, device=z.device).roll(n))
    if n < 2:
        return 0 * first.sum()
    similarity = first @ second.T / temperature
    return (torch.logsumexp(_without_diagonal(similarity), dim=1) - similarity.diagonal()).mean()


def _without_diagonal(matrix: Tensor) -> Tensor:
    return matrix.masked_fill(torch.eye(len(matrix), dtype=torch.bool, device=matrix.device), -torch.inf)
