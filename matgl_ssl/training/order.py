"""Which crystals make which batch: a function of (seed, epoch), known before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from matgl_ssl.crystals.batching import batch_bounds

Position = tuple[int, int]
"""Epoch, and number of a batch in it."""


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """The batches of every epoch.

    A batch is full when the next crystal would make it too large or too costly, so that epochs may differ in their
    number of batches. Under ``torch.distributed`` each rank takes every world-size-th batch, and those left over at an
    epoch's end are left out.

    Attributes:
        edges: Estimated edges of each crystal, shape ``(n,)``.
        batch_size: Crystals of a batch at most.
        max_edges: Edges of a batch at most; a crystal with more makes a batch of its own.
        seed: Seed of the order.
        shuffle: Draw a new order each epoch; otherwise rows come in order, always as in epoch 0 (for validation).
    """

    edges: np.ndarray
    batch_size: int
    max_edges: int
    seed: int
    shuffle: bool
    _counts: dict[int, int] = field(default_factory=dict)

    def n_batches(self, epoch: int) -> int:
        """Batches of an epoch, the same number on every rank."""
        if epoch not in self._counts:
            self._counts[epoch] = len(self._cut(epoch)[1]) - 1
        return max(1, self._counts[epoch] // rank_and_world()[1])

    def batches(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """The (epoch, row) items of an epoch, batch by batch."""
        order, bounds = self._cut(epoch)
        rank, world = rank_and_world()
        for i in range(rank, world * self.n_batches(epoch), world):
            start, stop = bounds[i % (len(bounds) - 1) :][:2]
            yield [(epoch, row) for row in order[start:stop].tolist()]

    def batches_from(self, epoch: int, batch: int) -> Iterator[list[tuple[int, int]]]:
        """Batches of this epoch and all later ones, without end."""
        while True:
            for number, items in enumerate(self.batches(epoch)):
                if number >= batch:
                    yield items
            epoch, batch = self.following((epoch, self.n_batches(epoch)))

    def following(self, position: Position) -> Position:
        """Where the next batch is when as many as these were taken."""
        epoch, batch = position
        return position if batch < self.n_batches(epoch) else (epoch + self.shuffle, 0)

    def _cut(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of an epoch, and where its batches begin."""
        n = len(self.edges)
        order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
        return order, batch_bounds(self.edges[order], self.batch_size, self.max_edges)


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
