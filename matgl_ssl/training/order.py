"""Which crystals make which batch: a function of (seed, epoch), known before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from matgl_ssl.crystals.batching import batch_bounds

Position = tuple[int, int]
"""Epoch, and number of a batch in it."""
BLOCK = 4096
"""Rows that are read from one place of a table, about 4 MB."""
WINDOW = 64 * BLOCK
"""Rows that are shuffled together: those of 64 places of a table. What is read at a time fits into memory."""


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """The batches of every epoch.

    A batch is full when the next crystal would make it too large or too costly, so that epochs may differ in their
    number of batches. Several processes share each batch: consecutive crystals with about as many edges for each, in
    order of rank, and none for some only where a batch has fewer crystals than there are processes.

    Attributes:
        edges: Estimated edges of each crystal, shape ``(n,)``.
        batch_size: Crystals of a batch at most.
        max_edges: Edges of a batch at most; a crystal with more makes a batch of its own.
        seed: Seed of the order.
        shuffle: Draw a new order each epoch; otherwise rows come in order, always as in epoch 0 (for validation).
        rank: Whose parts these are.
        world: How many processes share the batches.
    """

    edges: np.ndarray
    batch_size: int
    max_edges: int
    seed: int
    shuffle: bool
    rank: int = 0
    world: int = 1
    _counts: dict[int, int] = field(default_factory=dict)

    def n_batches(self, epoch: int) -> int:
        """Batches of an epoch."""
        if epoch not in self._counts:
            self._counts[epoch] = len(self._cut(epoch)[1]) - 1
        return self._counts[epoch]

    def batches(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """The (epoch, row) items of an epoch, batch by batch; this process's part of them."""
        order, bounds = self._cut(epoch)
        for start, stop in pairwise(bounds):
            rows = order[start:stop]
            yield [(epoch, row) for row in rows[shares(self.edges[rows], self.world)[self.rank]].tolist()]

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
        order = shuffled(n, np.random.default_rng([self.seed, epoch])) if self.shuffle else np.arange(n)
        return order, batch_bounds(self.edges[order], self.batch_size, self.max_edges)


def shuffled(n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows in random order; of more than ``WINDOW`` rows blocks are drawn at random, and as many as fill it shuffled.

    A permutation of them all would read every row from another place on the disk.

    Returns:
        Each row once, shape ``(n,)``.
    """
    if n <= WINDOW:
        return rng.permutation(n)
    rows = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    order = np.concatenate([rows[i * BLOCK : (i + 1) * BLOCK] for i in rng.permutation(-(-n // BLOCK))])
    for start in range(0, n, WINDOW):
        rng.shuffle(order[start : start + WINDOW])
    return order


def shares(edges: np.ndarray, world: int) -> list[slice]:
    """Cut a batch into consecutive parts of about as many edges, none of them empty if that can be."""
    n, before = len(edges), np.concatenate([[0], np.cumsum(edges)])
    bounds = [0]
    for k in range(1, world):
        least = min(bounds[-1] + 1, n)
        nearest = int(np.abs(before - before[-1] * k / world).argmin())
        bounds.append(min(max(nearest, least), max(n - (world - k), least)))
    return [slice(*pair) for pair in pairwise([*bounds, n])]
