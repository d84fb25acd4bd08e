"""Estimates of time and memory: some real batches of the real model, trained on this machine for a few seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scipy.stats import t as student

from matgl_ssl.acceleration import using
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.batching import estimated_edges
from matgl_ssl.crystals.physics import Remark
from matgl_ssl.encoders import ARCHITECTURES
from matgl_ssl.errors import MatGLSSLError
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.loader import GraphDataset
from matgl_ssl.training.pretrain import pretraining_task
from matgl_ssl.training.supervised import begin, prepare
from matgl_ssl.training.trainer import Task, fit
from matgl_ssl.views import View

_SAMPLE = 2_000
_LARGEST = 100_000  # edges of a crystal that would take too long
_CONFIDENCE = 0.95
_BATCHES = 5  # of which the scatter tells something


class TooFewBatchesError(MatGLSSLError):
    """The crystals fill too few batches to measure any."""


@dataclass(frozen=True)
class Estimate:
    """What training would take on this machine.

    Attributes:
        verb: ``pretrain`` or ``finetune``.
        what: The model, and the recipe or the target.
        device: Where it ran.
        crystals: Crystals of an epoch.
        epochs: Epochs, the default of the command.
        batch_size: Crystals of a batch, likewise.
        epoch_seconds: Bounds of the seconds of an epoch without validation, at 95 % confidence: the scatter of the
            measured batches, by their edges.
        memory: Largest memory that the process had in bytes (of the GPU, on one).
        batches: Batches that were measured, after one to warm up.
        seconds: How long that took.
    """

    verb: str
    what: str
    device: str
    crystals: int
    epochs: int
    batch_size: int
    epoch_seconds: tuple[float, float]
    memory: int
    batches: int
    seconds: float


def estimate(
    crystals: CrystalDataset, model: Any, *, recipe: str, target: str | None, seconds: float, options: dict[str, Any]
) -> tuple[list[Estimate], list[Remark]]:
    """Estimate time and memory of ``pretrain`` and, where there are labels, ``finetune``.

    Args:
        crystals: Crystals that the checks passed.
        model: An architecture's name, a path, a hub name or a MatGL model.
        recipe: Recipe of the pretraining.
        target: Label column to fine-tune on; None for none.
        seconds: How long to measure each.
        options: Further options of both, ``trained_with`` for example.

    Returns:
        The estimates, and why others could not be made.
    """
    small = np.flatnonzero(estimated_edges(crystals, 5.0) <= _LARGEST)
    rows = np.random.default_rng(0).permutation(small)[:_SAMPLE]
    sample = crystals.select(np.sort(rows))
    tasks: list[tuple[str, str, Callable[[], Task]]] = [
        ("pretrain", recipe, lambda: pretraining_task(sample, model, recipe=recipe, **options))
    ]
    if target:
        tasks.append(("finetune", target, lambda: _finetuning_task(sample, model, target, options)))
    found, remarks = [], []
    for verb, what, make in tasks:
        try:
            found.append(measured(verb, what, make, crystals, seconds))
        except MatGLSSLError as err:
            remarks.append(Remark("estimate", verb, None, f"cannot be estimated: {err}"))
    return found, remarks


def _finetuning_task(crystals: CrystalDataset, model: Any, target: str, options: dict[str, Any]) -> Task:
    known = isinstance(model, str) and model in ARCHITECTURES
    config = FinetuneConfig.build({"target": target, **options}, {"model": model} if known else {})
    begun, encoder = begin(config, None if known else model, None)
    labelled = crystals.select(np.flatnonzero(np.isfinite(crystals.column(target).astype(float))))
    graphs = GraphDataset(labelled, encoder.graph_builder(), [View()], config.seed, target=target)
    return prepare(begun, encoder, labelled, graphs, config)


class _Clock(L.Callback):
    """Seconds of each batch, waiting for it included, until there are enough of them."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds
        self.times: list[float] = []
        self._began = self._last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Take the time; the first batch pays for what is made once."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if not self._began:
            self._began = now
        else:
            self.times.append(now - self._last)
        self._last = now
        enough, much = now - self._began > self.limit, now - self._began > 3 * self.limit
        if (enough and len(self.times) >= _BATCHES) or (much and len(self.times) > 1):
            trainer.should_stop = True


@using
def _run(task: Task, seconds: float) -> list[float]:
    clock = _Clock(seconds)
    task.callbacks, task.val = [clock], None
    fit(task)
    return clock.times


def measured(
    verb: str, what: str, make: Callable[[], Task], crystals: CrystalDataset, seconds: float, share: float | None = None
) -> Estimate:
    """Train some real batches, and estimate what the whole takes.

    Args:
        verb: ``pretrain`` or ``finetune``.
        what: The recipe or the target.
        make: Makes the task, of some of the crystals.
        crystals: All crystals.
        seconds: How long to measure.
        share: Share of the crystals that is trained on; None for all but those to validate on.

    Raises:
        MatGLSSLError: If the task cannot be made, or has too few batches.
    """
    ours = logging.getLogger("matgl_ssl")
    level = ours.level
    ours.setLevel(logging.WARNING)  # nobody trains yet
    try:
        with isolate_rng(include_cuda=False):
            task = make()
            times = np.array(_run(task, seconds))
    finally:
        ours.setLevel(level)
    order, config = task.train.order, task.config
    batches = [list(batch) for epoch in range(config.epochs) for batch in order.batches(epoch)][1 : len(times) + 1]
    edges = np.array([order.edges[[row for _, row in batch]].sum() for batch in batches], dtype=float)
    if len(times) < 2:
        raise TooFewBatchesError("too few crystals to measure several batches.")
    rate = times.sum() / edges.sum()
    error = np.sqrt(((times - rate * edges) ** 2).sum() / (len(times) - 1) * len(times)) / edges.sum()
    bound = float(student.ppf((1 + _CONFIDENCE) / 2, len(times) - 1)) * error
    share = 1 - getattr(config, "val_fraction", 0.0) if share is None else share
    total = float(estimated_edges(crystals, task.module.encoder.cutoff).sum()) * share
    device = next(task.module.parameters()).device
    return Estimate(
        verb, f"{task.module.encoder.architecture.name}, {what}", device.type, round(share * len(crystals)),
        config.epochs, config.batch_size, (max(rate - bound, rate / 3) * total, (rate + bound) * total), memory(),
        len(times), float(times.sum()),
    )  # fmt: skip


def memory() -> int:
    """Bytes at most: of the GPU if there is one, else of this process; 0 where the system does not tell."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(ImportError):  # not on Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0
