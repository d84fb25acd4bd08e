"""``--dry-run`` of ``pretrain`` and ``finetune``: what would be trained, how long it would take, what would be written.

Crystals are read, checked and split as in the run itself. Time and memory come from some real steps on a few of them.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
from torch import nn

from matgl_ssl.acceleration import use, using
from matgl_ssl.boundary import verb
from matgl_ssl.config import read_yaml
from matgl_ssl.crystals import CheckReport, CrystalDataset
from matgl_ssl.crystals.batching import estimated_edges, ordinary_limit
from matgl_ssl.errors import ConfigError
from matgl_ssl.progress import duration
from matgl_ssl.targets import with_targets
from matgl_ssl.training.config import RunConfig
from matgl_ssl.training.data import describe, random_split
from matgl_ssl.training.finetune import chosen_parts, finetuning_settings
from matgl_ssl.training.loader import GraphDataset
from matgl_ssl.training.order import BatchOrder
from matgl_ssl.training.pretrain import chosen, pretraining_settings, pretraining_task, taught
from matgl_ssl.training.rundir import RunDirectory
from matgl_ssl.training.supervised import begin, prepare, representation_of
from matgl_ssl.training.team import Team
from matgl_ssl.training.trainer import Task
from matgl_ssl.views import View

from .estimate import Estimate, TooFewBatchesError, measured

_SECONDS = 1.0
"""How long steps are measured, at least two of them after one to warm up."""
_BATCHES = 4
"""Batches that the crystals of a measurement fill."""
_COMPUTED = 64
"""Crystals on which the time of targets is measured; a teacher labels an eighth of them."""


@dataclass(frozen=True)
class Plan:
    """What a command would do.

    Attributes:
        verb: ``pretrain`` or ``finetune``.
        what: The architecture with the recipe or the target.
        crystals: Number of crystals of each part.
        left_out: Number of crystals that are left out, by reason.
        epochs: Passes over the training crystals.
        batches_per_epoch: Batches of an epoch.
        steps: Batches of all epochs.
        prepare_seconds: Estimated time for targets or a teacher's labels; 0 if there are none. The cache may save it.
        train_seconds: Lower and upper estimate of the time of training; None if there are too few crystals to measure.
        memory_bytes: Largest memory that the process has had while some batches were trained.
        device: Where they were trained.
        writes: Files and folders that the run would write.
    """

    verb: str
    what: str
    crystals: dict[str, int]
    left_out: dict[str, int]
    epochs: int
    batches_per_epoch: int
    steps: int
    prepare_seconds: float
    train_seconds: tuple[float, float] | None
    memory_bytes: int
    device: str
    writes: list[str]

    def __str__(self) -> str:
        return "\n".join(lines(self.verb, self.rows()))

    def rows(self) -> Iterator[tuple[str, str]]:
        """What is printed: names and texts."""
        yield "model", self.what
        yield "crystals", ", ".join(f"{n:,} to {part}" for part, n in self.crystals.items() if n)
        if self.left_out:
            yield "left out", ", ".join(f"{n:,} {reason}" for reason, n in self.left_out.items())
        yield "passes", f"{self.epochs} epochs of {self.batches_per_epoch:,} batches, {self.steps:,} steps"
        if self.prepare_seconds:
            yield "targets", f"about {duration(self.prepare_seconds)}, less if they are in the cache"
        if self.train_seconds is None:
            yield "time", "unknown: there are too few crystals to measure several batches"
        else:
            low, high = map(duration, self.train_seconds)
            yield "time", f"about {low if low == high else f'{low} to {high}'} of training on the {self.device}"
        if self.memory_bytes:
            yield "memory", f"{self.memory_bytes / 1e9:.1f} GB"
        yield "writes", ", ".join(self.writes)


def lines(name: str, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    """A plan as it is printed: a line for each row, and what it is at the end."""
    for title, text in rows:
        yield f"{title:<9} {text}"
    yield f"Dry run: nothing was written. Without --dry-run, {name} starts."


@verb
@using
def plan_pretrain(
    *, data: Any, out: str | Path, config: str | Path | None = None, resume: bool = False, **options: Any
) -> Plan:
    """What ``pretrain`` would do with these arguments.

    Args:
        data: As for ``pretrain``.
        out: Likewise; it is not written.
        config: Likewise.
        resume: Must be false.
        **options: Likewise.

    Raises:
        MatGLSSLError: As ``pretrain``.
    """
    file = read_yaml(config) if config else {}
    model = options.get("model", file.get("model"))
    base = model if isinstance(model, nn.Module) else None
    settings = pretraining_settings(file, options, describe(data), config, {})
    _refuse_used(out, resume)
    use(settings.acceleration)
    team = Team(settings)
    encoder, mixture, crystals, report = chosen(settings, data, base)
    rows, held_out = random_split(len(crystals), settings.val_fraction, settings.seed)
    train = crystals.select(rows)
    with measuring():
        seconds = 0.0
        few = _few(train, settings)
        if settings.teacher or mixture.targets:
            some = few.select(np.arange(min(len(few), _COMPUTED // 8 if settings.teacher else _COMPUTED)))
            seconds = seconds_of(
                lambda part: (
                    taught(part, mixture, settings, team) if settings.teacher else with_targets(part, mixture.targets)
                ),
                some,
            )
        fixed = {"epochs": max(settings.epochs, 3), "devices": 1, "num_nodes": 1}
        given = {**settings.model_dump(exclude={"data", "model"}), **fixed}
        make = lambda: pretraining_task(few, base or settings.model, **given)  # noqa: E731 - called within
        found = _measured("pretrain", settings.recipe, make, train)
    left = _left_out(report)
    parts = {"train": len(train), "validate": len(held_out)}
    exports = ["encoder/", *(["potential/"] if mixture.trained_output else [])]
    total = seconds * len(crystals) / max(settings.num_workers, 1)
    what = f"{encoder.architecture.name}, recipe {settings.recipe}"
    return _plan("pretrain", what, parts, left, settings, train, encoder.cutoff, team.size, total, found, out, exports)


@verb
@using
def plan_finetune(
    *, data: Any, out: str | Path, config: str | Path | None = None, resume: bool = False, **options: Any
) -> Plan:
    """What ``finetune`` would do with these arguments.

    Args:
        data: As for ``finetune``.
        out: Likewise; it is not written.
        config: Likewise.
        resume: Must be false.
        **options: Likewise.

    Raises:
        MatGLSSLError: As ``finetune``.
    """
    _refuse_used(out, resume)
    settings, sources = finetuning_settings(data, config, options, None)
    use(settings.acceleration)
    team = Team(settings)
    begun, encoder, splits, report = chosen_parts(settings, sources, options.get("model"))
    train = splits.train
    with measuring():
        few = _few(train, settings)
        representation = representation_of(begun.model, team.device)
        seconds = seconds_of(lambda part: with_targets(part, representation), few) if representation else 0.0
        few = with_targets(few, representation)
        column = next((target.column for target in representation), None)

        def make() -> Task:
            own = settings.model_copy(update={"epochs": max(settings.epochs, 3), "devices": 1, "num_nodes": 1})
            fresh, its_encoder = begin(own, sources["init_from"], sources["node_embedding_from"])
            graphs = GraphDataset(
                few, its_encoder.graph_builder(), [View()], own.seed, target=own.target, transform=own.transform,
                representation=column,
            )  # fmt: skip
            return prepare(fresh, its_encoder, few, graphs, own)

        found = _measured("finetune", settings.target, make, train)
    parts = {"train": len(train), "validate": len(splits.val), "test": len(splits.test)}
    exports = ["model/", "predictions.csv", "metrics.json"]
    total = seconds * sum(parts.values())
    what = f"{encoder.architecture.name}, target {settings.target}"
    left = _left_out(report)
    return _plan("finetune", what, parts, left, settings, train, encoder.cutoff, team.size, total, found, out, exports)


@contextmanager
def measuring() -> Iterator[None]:
    """Keep what is computed for a measurement out of the cache and out of the log."""
    before, ours = datasets.config.HF_DATASETS_CACHE, logging.getLogger("matgl_ssl")
    level = ours.level
    ours.setLevel(logging.WARNING)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = before
            ours.setLevel(level)


def seconds_of(work: Callable[[CrystalDataset], Any], crystals: CrystalDataset) -> float:
    """Seconds that some work takes for each crystal, after it was done once for one of them."""
    work(crystals.select(np.arange(1)))
    started = time.perf_counter()
    work(crystals)
    return (time.perf_counter() - started) / len(crystals)


def _few(train: CrystalDataset, config: RunConfig) -> CrystalDataset:
    """Enough crystals for some batches, drawn at random."""
    n = min(len(train), _BATCHES * config.batch_size)
    return train.select(np.sort(np.random.default_rng(0).permutation(len(train))[:n]))


def _measured(verb: str, what: str, make: Callable[[], Task], train: CrystalDataset) -> Estimate | None:
    try:
        return measured(verb, what, make, train, _SECONDS, share=1.0)
    except TooFewBatchesError:
        return None


def _refuse_used(out: str | Path, resume: bool) -> None:
    if resume:
        raise ConfigError("--dry-run is for a new run: leave out --resume.")
    RunDirectory(out).refuse_if_used()


def _left_out(report: CheckReport) -> dict[str, int]:
    return dict(Counter(finding.code for finding in report.findings))


def _plan(
    verb: str, what: str, parts: Mapping[str, int], left_out: dict[str, int], config: RunConfig,
    train: CrystalDataset, cutoff: float, n_processes: int, prepare_seconds: float, found: Estimate | None,
    out: str | Path, exports: list[str],
) -> Plan:  # fmt: skip
    edges, batch_size = estimated_edges(train, cutoff), config.batch_size * n_processes
    limit = config.max_edges * n_processes if config.max_edges else ordinary_limit(edges, batch_size)
    order = BatchOrder(edges, batch_size, limit, config.seed, shuffle=True)
    steps = sum(map(order.n_batches, range(config.epochs)))
    bounds = None
    if found:
        bounds = (found.epoch_seconds[0] * config.epochs, found.epoch_seconds[1] * config.epochs)
    files = ["config.yaml", "metrics.csv", "skipped.json", "checkpoints/", *exports, "report.html"]
    return Plan(
        verb, what, dict(parts), left_out, config.epochs, order.n_batches(0), steps, prepare_seconds, bounds,
        found.memory if found else 0, found.device if found else "", [f"{out}/{name}" for name in files],
    )  # fmt: skip
