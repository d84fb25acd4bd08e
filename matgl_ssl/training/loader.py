"""Batches whose content is a function of (seed, epoch, position), so that a run can stop and continue anywhere."""

from __future__ import annotations

import ctypes
import signal
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from matgl_ssl.backends import REPRESENTATION, CrystalBatch, Graph, collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.batching import estimated_edges, ordinary_limit
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.views import View, sample_generator

from .order import BatchOrder, Position


@dataclass
class _Sample:
    """A crystal, and its graph at rest once a view asked for it."""

    crystal: Crystal
    graph: Graph | None = None


class Samples(Dataset[list[Graph]]):
    """What a loader takes: each (epoch, row) item is the graphs of a crystal's views.

    Attributes:
        edges: About how many edges each crystal has, shape ``(len(self),)``.
    """

    edges: np.ndarray

    def __len__(self) -> int:
        return len(self.edges)

    def __getitem__(self, item: tuple[int, int]) -> list[Graph]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        """The items of a whole batch."""
        raise NotImplementedError

    def collate(self, samples: Sequence[list[Graph]]) -> list[CrystalBatch]:
        """One batch for each view; of no samples, batches of no crystals."""
        if not samples:
            return [batch.nothing() for batch in self.collate(self.__getitems__([(0, 0)]))]
        return [collate(graphs) for graphs in zip(*samples, strict=True)]


class ViewDataset(Samples):
    """The views of each crystal as graphs.

    What views leave in place is built once for all of them, and kept in memory while the table is small.

    Args:
        crystals: The crystals.
        build_graph: Turns a crystal into a graph.
        views: The views to make of each.
        seed: Seed of all randomness.
    """

    keep_at_most: ClassVar[int] = 5_000_000
    """Edges of the tables whose graphs are kept, 28 bytes each; a larger one is read and built anew each epoch."""

    def __init__(self, crystals: CrystalDataset, build_graph: GraphBuilder, views: Sequence[View], seed: int) -> None:
        self.crystals = crystals
        self.build_graph = build_graph
        self.views = tuple(views)
        self.seed = seed
        self.edges = estimated_edges(crystals, build_graph.cutoff)
        self._keep = int(self.edges.sum()) <= self.keep_at_most
        self._kept: dict[int, _Sample] = {}

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        """Read the rows of a whole batch at once. Items are (epoch, row)."""
        unread = [row for _, row in items if row not in self._kept]
        read = dict(zip(unread, map(_Sample, self.crystals.rows(unread)), strict=True))
        if self._keep:
            self._kept |= read
        samples = [read[row] if row in read else self._kept[row] for _, row in items]
        return [
            [self._view(view, sample, epoch, row) for view in self.views]
            for (epoch, row), sample in zip(items, samples, strict=True)
        ]

    def _view(self, view: View, sample: _Sample, epoch: int, row: int) -> Graph:
        if type(view) is View:  # draws nothing, and to make a generator takes longer than all else here
            return self._at_rest(sample)
        rng = sample_generator(self.seed, 0 if view.static else epoch, row, view.stream)
        crystal = view.on_crystal(sample.crystal, rng)
        if crystal is not sample.crystal:
            return view.on_graph(self.build_graph(crystal), rng)
        return view.on_graph(self._at_rest(sample), rng)

    def _at_rest(self, sample: _Sample) -> Graph:
        """The graph of a crystal that no view has changed, to be annotated."""
        if sample.graph is None:
            sample.graph = self.build_graph(sample.crystal)
        return sample.graph.copy()


class GraphDataset(ViewDataset):
    """Crystals as they are, with the target as their only label.

    Args:
        target: Label column, becomes ``labels["target"]``.
        transform: ``"log10"`` or None.
        representation: Column of a NEGNN's frozen vectors, for the batches' ``atom["representation"]``.
        **kwargs: As for ``ViewDataset``.
    """

    def __init__(
        self, *args: Any, target: str, transform: str | None = None, representation: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.target = target
        self.transform = transform
        self.representation = representation

    def _view(self, view: View, sample: _Sample, epoch: int, row: int) -> Graph:
        graph = super()._view(view, sample, epoch, row)
        labels = sample.crystal.labels
        value = float(labels[self.target])
        graph.labels = {"target": float(np.log10(value)) if self.transform == "log10" else value}
        if self.representation:
            graph.atom[REPRESENTATION] = torch.from_numpy(labels[self.representation])
        return graph


def _give_back_memory() -> None:
    """What was freed goes back to the system, or each worker has it, too: tens of MB after a large table was read."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _end_workers(stream: Any) -> None:
    """Ask them to end. They ignore the signal by which Python would end them, and it would wait for them forever."""
    if hasattr(stream, "_shutdown_workers"):
        stream._shutdown_workers()


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C and job schedulers signal the whole process group: workers go on, so that the step can finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class SeededLoader:
    """A resumable stream of batches; Lightning saves and restores it through ``state_dict``.

    The order is a function of (seed, epoch), and so is each sample: nothing but the position has to be remembered, and
    workers need no state. They work in advance, and continue from one epoch into the next.

    Args:
        dataset: The crystals' graphs.
        batch_size: Crystals in a batch at most, for each process.
        seed: Seed of the order.
        shuffle: Draw a new order each epoch; otherwise rows come in order, always as in epoch 0 (for validation).
        num_workers: Worker processes that build graphs ahead; 0 builds them in the training process.
        max_edges: Estimated edges of a batch at most, before views change them; a crystal with more makes a batch of
            its own. None sets a limit that only unusually large cells reach (``ordinary_limit``).
        ranks: Number of this process, and how many share the batches.

    Attributes:
        order: Which crystals make which batch.
        waited: Seconds spent waiting for batches so far.
    """

    def __init__(
        self, dataset: Samples, *, batch_size: int, seed: int, shuffle: bool, num_workers: int = 0,
        max_edges: int | None = None, ranks: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        self.dataset = dataset
        batch_size, max_edges = batch_size * ranks[1], max_edges and max_edges * ranks[1]
        max_edges = max_edges or ordinary_limit(dataset.edges, batch_size)
        self.order = BatchOrder(dataset.edges, batch_size, max_edges, seed, shuffle, *ranks)
        self.num_workers = num_workers
        self.epoch = 0
        self.batch = 0
        self.waited = 0.0
        self._stream: Iterator[list[CrystalBatch]] | None = None
        self._end: Callable[[], object] = lambda: None
        self._stream_at: Position | None = None

    def __len__(self) -> int:
        """Batches of the epoch that the next batch belongs to."""
        return self.order.n_batches(self._position()[0])

    def steps(self, epochs: int) -> int:
        """Batches of the first epochs together."""
        return sum(map(self.order.n_batches, range(epochs)))

    def start(self) -> None:
        """Have the workers build the next batches from now on."""
        if self._stream is not None and self._stream_at == self._position():
            return
        loader = DataLoader(
            self.dataset,
            batch_sampler=self.order.batches_from(*self._position()),
            num_workers=self.num_workers,
            collate_fn=self.dataset.collate,
            worker_init_fn=_leave_signals_to_the_trainer,
            generator=torch.Generator(),  # DataLoader draws a seed for its workers: not from the global state
        )
        self.close()
        _give_back_memory()
        self._stream, self._stream_at = iter(loader), self._position()
        self._end = weakref.finalize(self, _end_workers, self._stream)  # at the latest when the interpreter exits

    def close(self) -> None:
        """End the workers; the position stays."""
        self._stream = None
        self._end()

    def __iter__(self) -> Iterator[list[CrystalBatch]]:
        # The generator starts at the first ``next``: an iterator that Lightning makes and drops costs nothing.
        self.epoch, self.batch = self._position()
        for _ in range(self.batch, len(self)):
            yield self._next()

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands: the epoch, and how many of its batches were handed out."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from there."""
        self.epoch, self.batch = state["epoch"], state["batch"]

    def _next(self) -> list[CrystalBatch]:
        started = time.perf_counter()
        self.start()
        stream, self._stream = self._stream, None  # kept only if it gives a batch
        assert stream is not None  # noqa: S101 - start saw to it
        batch = next(stream)
        self.batch += 1
        self._stream, self._stream_at = stream, self._position()
        self.waited += time.perf_counter() - started
        return batch

    def _position(self) -> Position:
        return self.order.following((self.epoch, self.batch))
