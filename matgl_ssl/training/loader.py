"""Batches whose content is a function of (seed, epoch, position), so that a run can stop and go on anywhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from matgl_ssl.backends import CrystalBatch, Graph, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.encoders import REPRESENTATION, GraphBuilder
from matgl_ssl.views import View, sample_generator


class ViewDataset(Dataset[list[Graph]]):
    """The views of each crystal as graphs.

    Args:
        crystals: The crystals.
        build_graph: Turns a crystal into a graph.
        views: The views to make of each.
        seed: Seed of all randomness.
    """

    def __init__(self, crystals: CrystalDataset, build_graph: GraphBuilder, views: Sequence[View], seed: int) -> None:
        self.crystals = crystals
        self.build_graph = build_graph
        self.views = tuple(views)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.crystals)

    def __getitem__(self, item: tuple[int, int]) -> list[Graph]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        """Read the rows of a whole batch at once. Items are (epoch, row)."""
        crystals = self.crystals.rows([row for _, row in items])
        return [
            [self._view(view, crystal, epoch, row) for view in self.views]
            for (epoch, row), crystal in zip(items, crystals, strict=True)
        ]

    def _view(self, view: View, crystal: Crystal, epoch: int, row: int) -> Graph:
        rng = sample_generator(self.seed, 0 if view.static else epoch, row, view.stream)
        return view.on_graph(self.build_graph(view.on_crystal(crystal, rng)), rng)


class GraphDataset(ViewDataset):
    """Crystals as they are, with the target as their only label; what was built once is kept while it is small.

    Args:
        target: Label column, becomes ``labels["target"]``.
        transform: ``"log10"`` or None.
        representation: Column of a NEGNN's frozen vectors, for the batches' ``atom["representation"]``.
        **kwargs: As for ``ViewDataset``.
    """

    keep_at_most: ClassVar[int] = 20_000
    """Crystals whose graphs are kept in memory (about 10 kB each); a larger table is built anew each epoch."""

    def __init__(
        self, *args: Any, target: str, transform: str | None = None, representation: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.target = target
        self.transform = transform
        self.representation = representation
        self._kept: dict[int, list[Graph]] = {}

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        """Build what is not kept yet."""
        new = [item for item in items if item[1] not in self._kept]
        built = dict(zip([row for _, row in new], super().__getitems__(new) if new else [], strict=True))
        if len(self) <= self.keep_at_most:
            self._kept |= built
        return [self._kept[row] if row in self._kept else built[row] for _, row in items]

    def _view(self, view: View, crystal: Crystal, epoch: int, row: int) -> Graph:
        graph = super()._view(view, crystal, epoch, row)
        value = float(crystal.labels[self.target])
        graph.labels = {"target": float(np.log10(value)) if self.transform == "log10" else value}
        if self.representation:
            graph.atom[REPRESENTATION] = torch.from_numpy(crystal.labels[self.representation])
        return graph


def collate_views(samples: Sequence[list[Graph]]) -> list[CrystalBatch]:
    """One batch for each view."""
    return [collate(graphs) for graphs in zip(*samples, strict=True)]


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C and job schedulers signal the whole process group: workers go on, so that the step can finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class SeededLoader:
    """A resumable stream of batches; Lightning saves and restores it through ``state_dict``.

    The order is a function of (seed, epoch), and so is each sample: nothing but the position has to be remembered, and
    workers need no state. Under ``torch.distributed`` each rank takes every world-size-th batch.

    Args:
        dataset: Takes (epoch, row) items.
        batch_size: Crystals in a batch.
        seed: Seed of the order.
        shuffle: Draw a new order each epoch; otherwise rows come in order, always as in epoch 0 (for validation).
        num_workers: Worker processes that build graphs ahead; 0 builds them in the training process.
    """

    def __init__(
        self, dataset: ViewDataset, *, batch_size: int, seed: int, shuffle: bool, num_workers: int = 0
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.num_workers = num_workers
        self.epoch = 0
        self.batch = 0

    def __len__(self) -> int:
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        n = -(-len(self.dataset) // self.batch_size)
        return max(1, n // world)

    def batches_of_epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """All (epoch, row) items of an epoch, batch by batch."""
        n = len(self.dataset)
        order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
        items = [(epoch, int(row)) for row in order]
        batches = [items[i : i + self.batch_size] for i in range(0, n, self.batch_size)]
        if torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
            batches = [batches[i % len(batches)] for i in range(rank, world * len(self), world)]
        return batches

    def __iter__(self) -> Iterator[list[CrystalBatch]]:
        # The generator starts at the first ``next``: an iterator that Lightning makes and drops costs nothing.
        if self.batch >= len(self):
            self.epoch, self.batch = self.epoch + 1, 0
        loader = DataLoader(
            self.dataset,
            batch_sampler=self.batches_of_epoch(self.epoch if self.shuffle else 0)[self.batch :],
            num_workers=self.num_workers,
            collate_fn=collate_views,
            worker_init_fn=_leave_signals_to_the_trainer,
            generator=torch.Generator(),  # DataLoader draws a seed for its workers: not from the global state
        )
        for batch in loader:
            self.batch += 1
            yield batch
        if not self.shuffle:
            self.batch = 0

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands: the epoch, and how many of its batches were handed out."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.epoch, self.batch = state["epoch"], state["batch"]
