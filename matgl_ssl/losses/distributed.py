"""Losses over the whole batch, wherever its crystals lie.

Distributed data parallel averages the ranks' gradients. So each rank returns ``world size * its part / the count of
the whole batch`` for means, and the whole batch's loss for losses that compare crystals: then loss and gradient are
those of one process with the large batch, however unequal the ranks' parts are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many share a batch."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def world_size() -> int:
    """Number of processes that share a batch."""
    return rank_and_world()[1]


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over ranks, detached."""
    value = value.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(value)
    return value


def global_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """(Weighted) mean over the joint batch of values that each rank holds a part of; zero if there are none.

    Args:
        values: Any shape.
        weights: Non-negative or bool, broadcastable to ``values``; values of weight zero do not count, but must be
            finite (put a number where a target is missing before taking its loss).

    Returns:
        Scalar. Its average over ranks, and so its gradient under distributed data parallel, is that of the whole batch.
    """
    weights = values.new_ones(()) if weights is None else weights.to(values.dtype)
    count = total(weights.sum() * (values.numel() // max(weights.numel(), 1)))
    return (values * weights).sum() * world_size() / count.clamp(min=torch.finfo(count.dtype).tiny)


class JointMeans:
    """Metrics of the whole batch, on their way from all ranks while this one continues.

    Args:
        metrics: Scalars whose average over ranks is that of the whole batch, as ``global_mean`` gives them; the same
            names on every rank.
        n: Crystals of this rank's part.
    """

    def __init__(self, metrics: Mapping[str, Tensor], n: int) -> None:
        self._names = list(metrics)
        values = torch.stack([value.detach() for value in metrics.values()]).cpu().double()  # no float64 on MPS
        self._sums = torch.cat([values / world_size(), values.new_tensor([n])])
        self._work = distributed.all_reduce(self._sums, async_op=True) if world_size() > 1 else None

    def wait(self) -> tuple[dict[str, float], int]:
        """The metrics as numbers, and how many crystals the whole batch has."""
        if self._work is not None:
            self._work.wait()
        *values, n = self._sums.tolist()
        return dict(zip(self._names, values, strict=True)), int(n)


def gather(rows: Tensor) -> Tensor:
    """The rows of all ranks, in order of rank, differentiable; ranks may have different numbers of rows.

    Args:
        rows: ``(n, ...)``.

    Returns:
        ``(sum of n, ...)``; the gradient of a row is the sum of what all ranks want of it.
    """
    return rows if world_size() == 1 else _Gather.apply(rows)


def rows_before(n: int, like: Tensor) -> int:
    """How many rows the ranks before this one contribute to ``gather``."""
    return int(sum(_counts(n, like)[: distributed.get_rank()])) if world_size() > 1 else 0


def _counts(n: int, like: Tensor) -> list[int]:
    count = torch.tensor([n], device=like.device)
    counts = [torch.empty_like(count) for _ in range(world_size())]
    distributed.all_gather(counts, count)
    return [int(c) for c in counts]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = _counts(len(rows), rows)
        ctx.start, ctx.n = sum(counts[: distributed.get_rank()]), len(rows)
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        distributed.all_reduce(grad)
        return grad[ctx.start : ctx.start + ctx.n]
