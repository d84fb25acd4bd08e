"""The one way to train: Lightning's trainer on a task, with a run directory or without."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from matgl_ssl.acceleration import accelerate
from matgl_ssl.devices import choose, fit_to
from matgl_ssl.errors import ConfigError

from .checkpointing import ResumableCheckpoint
from .config import RunConfig
from .loader import Samples, SeededLoader
from .log import MetricsCSV
from .module import TrainingModule
from .rundir import RunDirectory

logger = logging.getLogger(__name__)

_NOTHING_KEPT: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}


@dataclass(eq=False)
class Task:
    """What is trained, on what, and how: what ``pretrain``, ``finetune`` and the benchmark prepare, and ``fit`` takes.

    Attributes:
        module: What to train.
        config: How.
        train: Training batches.
        val: Held-out batches, always the same.
        facts: What must be the same when a run is resumed (a fingerprint of the data).
        callbacks: Further callbacks of Lightning's trainer.
    """

    module: TrainingModule
    config: RunConfig
    train: SeededLoader
    val: SeededLoader | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    callbacks: Sequence[L.Callback] = ()


def batches(graphs: Samples, config: RunConfig, *, shuffle: bool = False) -> SeededLoader:
    """The batches of a run; those of held-out crystals are not shuffled."""
    return SeededLoader(
        graphs, batch_size=config.batch_size, seed=config.seed, shuffle=shuffle, num_workers=config.num_workers,
        max_edges=config.max_edges,
    )  # fmt: skip


class EpochLines(L.Callback):
    """One log line an epoch, for terminals and files that cannot show a progress bar."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Say how the epoch went."""
        shown = {k: f"{float(v):.4g}" for k, v in trainer.callback_metrics.items() if k.endswith(("loss", "/s"))}
        line = "  ".join(f"{k} {v}" for k, v in shown.items())
        logger.info("epoch %d/%s  %s", trainer.current_epoch + 1, trainer.max_epochs, line)


def fit(task: Task, run: RunDirectory | None = None, checkpoint: Path | None = None) -> None:
    """Train, or go on training, until the configured epochs are done.

    Args:
        task: What to train; its module is changed.
        run: Where the log and the checkpoints go; None keeps none, and shows nothing.
        checkpoint: What to go on from, of the run; None starts anew.

    Raises:
        ConfigError: If there is more than one device to train on.
        RunDirectoryError: If the run to be resumed saw other facts.
        NonFiniteError: At the first loss or gradient that is not finite.
        TrainingInterrupted: After a signal, with the state saved.
    """
    config, module = task.config, task.module
    even = len({task.train.order.n_batches(epoch) for epoch in range(config.epochs)}) < 2
    devices = choose(config.accelerator, config.devices)
    fit_to(module, devices.first)
    with _quiet_lightning(entirely=run is None):
        trainer = L.Trainer(
            **devices.trainer_options(),
            **(_kept(task, run, checkpoint) if run else _NOTHING_KEPT),
            max_epochs=config.epochs,
            gradient_clip_val=config.clip,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if task.val else 0,
            enable_model_summary=False,
            log_every_n_steps=1,
            reload_dataloaders_every_n_epochs=0 if even else 1,
        )
        if trainer.world_size > 1:
            raise ConfigError(
                f"Runs are of one device, not {trainer.world_size}: give --devices 1 (with --resume here)."
            )
        accelerate(module.encoder.model)
        module.train()  # models come loaded in eval mode, and Lightning keeps the mode it finds
        loaders = [task.train, *([task.val] if task.val else [])]
        try:
            for loader in loaders:
                loader.start()
            with deterministic_on_cpu(trainer.strategy.root_device.type == "cpu"):
                trainer.fit(module, task.train, task.val, ckpt_path=checkpoint, weights_only=True)
        finally:
            for loader in loaders:
                loader.close()


def _kept(task: Task, run: RunDirectory, checkpoint: Path | None) -> dict[str, Any]:
    """The trainer's options that keep log and state in a run directory."""
    keep_steps = None
    if checkpoint is None:
        run.write_facts(task.facts)
    else:
        keep_steps = _restore_position(run, task)
    task.module.incidents = run.incidents
    task.module.run_identity = run.identity(task.config, task.facts)
    loggers: list[Logger] = [MetricsCSV(run.metrics, keep_steps)]
    with suppress(ModuleNotFoundError):
        loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
    interactive = sys.stderr.isatty()
    return {
        "default_root_dir": run.path,
        "logger": loggers,
        "enable_progress_bar": interactive,
        "callbacks": [
            *task.callbacks,
            TQDMProgressBar() if interactive else EpochLines(),
            ResumableCheckpoint(run.checkpoint, minutes=task.config.checkpoint_minutes),
        ],
    }


def _restore_position(run: RunDirectory, task: Task) -> int:
    """Put the loader where the run stood, and return the step."""
    checkpoint = run.load_checkpoint(task.config, task.facts)
    task.train.load_state_dict(checkpoint["matgl_ssl"]["loader"])  # Lightning forgets it at an epoch's end
    return int(checkpoint["global_step"])


@contextmanager
def _quiet_lightning(*, entirely: bool) -> Iterator[None]:
    """Without warnings of what is meant to be so; entirely: without a word on devices and ends either."""
    lightnings = logging.getLogger("lightning.pytorch")
    level = lightnings.level
    with warnings.catch_warnings():
        # Our loader builds its workers itself, from --num-workers.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a NEGNN's encoder is
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning on torch >= 2.10
        if entirely:
            lightnings.setLevel(logging.ERROR)
        try:
            yield
        finally:
            lightnings.setLevel(level)


@contextmanager
def deterministic_on_cpu(on_cpu: bool) -> Iterator[None]:
    """Equal runs have equal bits: with several threads, the backward of MatGL's gathers adds in any order otherwise."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    options: Any = torch.utils.deterministic
    fill, options.fill_uninitialized_memory = options.fill_uninitialized_memory, False  # a pass over all memory
    if on_cpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        options.fill_uninitialized_memory = fill
