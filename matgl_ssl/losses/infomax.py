"""Mutual information by a critic that tells pairs which belong together from pairs which do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .distributed import global_mean


@dataclass(eq=False)
class Scores:
    """A critic's scores of pairs.

    Attributes:
        values: Logit of belonging together, ``(P,)``.
        group: What each pair belongs to (an atom, a crystal), ``(P,)``, int64.
        weights: Non-negative weight of each pair in its group, ``(P,)``.
    """

    values: Tensor
    group: Tensor
    weights: Tensor


def grouped_mean(values: Tensor, group: Tensor, weights: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Weighted means of groups.

    Args:
        values: ``(P,)``.
        group: Group of each value, ``(P,)``.
        weights: Non-negative, ``(P,)``.
        n: Number of groups.

    Returns:
        The means ``(n,)``, zero where all weights are, and whether a group has any weight, ``(n,)`` bool.
    """
    total = values.new_zeros(n).index_add(0, group, values * weights)
    weight = values.new_zeros(n).index_add(0, group, weights)
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny), weight > 0


def jensen_shannon(positive: Scores, negatives: Sequence[Scores], n: int) -> tuple[Tensor, Tensor]:
    """The Jensen-Shannon estimate of Deep InfoMax (Hjelm et al., arXiv 1808.06670, Eq. 4), as a loss of each group.

    ``mean softplus(-positive) + mean over kinds of mean softplus(negative)``: binary cross entropy, ``2 ln 2`` where
    every score is zero however many kinds of negatives there are. A kind that a group has none of is left out.

    Args:
        positive: Scores of pairs that belong together.
        negatives: Scores of those that do not, one item a kind.
        n: Number of groups.

    Returns:
        The losses ``(n,)``, and which groups have pairs of both sorts, ``(n,)`` bool: the others say nothing.
    """
    joint, has = grouped_mean(functional.softplus(-positive.values), positive.group, positive.weights, n)
    product, kinds = torch.zeros_like(joint), torch.zeros_like(joint)
    for negative in negatives:
        mean, there = grouped_mean(functional.softplus(negative.values), negative.group, negative.weights, n)
        product, kinds = product + mean, kinds + there.to(kinds.dtype)
    return joint + product / kinds.clamp(min=1), has & (kinds > 0)


def critic_accuracy(positive: Scores, negatives: Sequence[Scores]) -> Tensor:
    """Share of pairs that the critic judges rightly, detached: half from the positives, half from the negatives."""
    sorts = [positive.values > 0], [negative.values < 0 for negative in negatives]
    weights = [positive.weights], [negative.weights for negative in negatives]
    shares = [
        global_mean(torch.cat(right).to(torch.cat(weight).dtype), torch.cat(weight))
        for right, weight in zip(sorts, weights, strict=True)
    ]
    return torch.stack(shares).mean().detach()


def released_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The prior's penalty of Site-Net's code, ``mean² / 2 + exp(log_variance) - log_variance``, elementwise.

    Not the textbook's ``(mean² + exp(log_variance) - log_variance - 1) / 2``: the variance weighs twice as much against
    the mean, and its minimum, at the same place, is 1.
    """
    return 0.5 * mean.square() + log_variance.exp() - log_variance
