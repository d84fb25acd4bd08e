"""The one way to train: Lightning's trainer on a task, with a run directory or without."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from matgl_ssl.acceleration import accelerate
from matgl_ssl.devices import fit_to
from matgl_ssl.errors import ConfigError, DataError, RunDirectoryError
from matgl_ssl.losses import rank_and_world
from matgl_ssl.progress import Every, duration

from .checkpointing import ResumableCheckpoint
from .config import RunConfig
from .loader import Samples, SeededLoader
from .log import MetricsCSV
from .module import TrainingModule
from .rundir import RunDirectory
from .team import Team, everyones

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
        team: The processes that train it; None for this one alone.
        elements: What the export says of the elements that training saw (``trained_elements``).
    """

    module: TrainingModule
    config: RunConfig
    train: SeededLoader
    val: SeededLoader | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    callbacks: Sequence[L.Callback] = ()
    team: Team | None = None
    elements: list[str] | None = None


def batches(
    graphs: Samples, config: RunConfig, *, shuffle: bool = False, ranks: tuple[int, int] = (0, 1)
) -> SeededLoader:
    """The batches of a run, or a rank's parts of them; those of held-out crystals are not shuffled."""
    return SeededLoader(
        graphs, batch_size=config.batch_size, seed=config.seed, shuffle=shuffle, num_workers=config.num_workers,
        max_edges=config.max_edges, ranks=ranks,
    )  # fmt: skip


class _Left(L.Callback):
    """The time that is left of a training, from the steps of this process."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock; a resumed run has done steps before."""
        self.started, self.before, self.total = time.monotonic(), trainer.global_step, pl_module.total_steps

    def left(self, trainer: L.Trainer) -> str:
        """In words; validation counts as part of the steps around it."""
        step = trainer.global_step
        return duration((time.monotonic() - self.started) / max(step - self.before, 1) * max(self.total - step, 0))


class TrainingLines(_Left):
    """A line every 30 seconds and one at the end, for logs, which cannot show a bar."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self.due = Every()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Log how far training is, if a line is due."""
        if self.due():
            self._log(trainer, f"about {self.left(trainer)} left")

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log how training ended."""
        self._log(trainer, f"done in {duration(time.monotonic() - self.started)}")

    def _log(self, trainer: L.Trainer, when: str) -> None:
        metrics = trainer.callback_metrics.items()
        shown = "".join(f", {k} {float(v):.4g}" for k, v in metrics if k in ("loss", "val_loss"))
        epoch = min(trainer.current_epoch + 1, trainer.max_epochs or 0)
        logger.info(
            "epoch %d of %s, step %d of %d, %s%s",
            epoch, trainer.max_epochs, trainer.global_step, self.total, when, shown,
        )  # fmt: skip


class TrainingBar(TQDMProgressBar, _Left):
    """Lightning's bar of the epoch, with the time left of the whole training, on stderr: results go to stdout."""

    def init_train_tqdm(self) -> Any:
        """The bar of an epoch."""
        with redirect_stdout(sys.stderr):  # where Lightning looks for a file to write to
            return super().init_train_tqdm()

    def init_validation_tqdm(self) -> Any:
        """The bar of a validation."""
        with redirect_stdout(sys.stderr):
            return super().init_validation_tqdm()

    def on_train_start(self, *args: Any) -> None:
        """Start the bar and the clock."""
        _Left.on_train_start(self, *args)
        super().on_train_start(*args)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What stands behind the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {"left": self.left(trainer), **metrics}


def fit(task: Task, run: RunDirectory | None = None, checkpoint: Path | None = None) -> None:
    """Train, or resume training, until the configured epochs are done.

    Args:
        task: What to train; its module is changed.
        run: Where the log and the checkpoints go; None keeps none, and shows nothing.
        checkpoint: Checkpoint of the run to resume from; None starts from the beginning.

    Raises:
        ConfigError: If there is no such device, or several are asked for and there is no team.
        RunDirectoryError: If the run to be resumed saw other facts, or was of another number of processes.
        DataError: If the processes of the team see other data.
        NonFiniteError: At the first loss or gradient that is not finite.
        TrainingInterrupted: After a signal, with the state saved.
    """
    config, module = task.config, task.module
    even = len({task.train.order.n_batches(epoch) for epoch in range(config.epochs)}) < 2
    team = task.team or Team(config)
    if rank_and_world()[1] != team.size:
        raise ConfigError(f"This trains on one device, not on {team.size}: give --devices 1.")
    if any(facts != task.facts for facts in everyones(task.facts)):
        raise DataError(
            "The processes of the run read different data or weights. Put these where all processes can read them."
        )
    fit_to(module, team.device)
    with _quiet_lightning(entirely=run is None):
        trainer = L.Trainer(
            **team.options,
            **(_kept(task, run, checkpoint) if run else {**_NOTHING_KEPT, "callbacks": [*task.callbacks]}),
            max_epochs=config.epochs,
            gradient_clip_val=config.clip,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if task.val else 0,
            enable_model_summary=False,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # the loader gives each process its part
            reload_dataloaders_every_n_epochs=0 if even else 1,
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
    position: tuple[Any, ...] = ()
    leads, n_processes = rank_and_world()[0] == 0, rank_and_world()[1]
    if checkpoint is not None:
        position = _restore_position(run, checkpoint, task, n_processes)
    elif leads:
        run.write_facts(task.facts)
    task.module.incidents = run.incidents
    task.module.run_identity = run.identity(task.config, task.facts)
    loggers: list[Logger] = [MetricsCSV(run.metrics, *position)] if leads else []
    with suppress(ModuleNotFoundError):
        loggers += [TensorBoardLogger(run.path, name="tensorboard", version="")] if leads else []
    interactive = leads and sys.stderr.isatty()
    return {
        "default_root_dir": run.path,
        "logger": loggers,
        "enable_progress_bar": interactive,
        "callbacks": [
            *task.callbacks,
            TrainingBar() if interactive else TrainingLines(),
            ResumableCheckpoint(run.checkpoint, run.previous_checkpoint, minutes=task.config.checkpoint_minutes),
        ],
    }


def _restore_position(run: RunDirectory, path: Path, task: Task, n_processes: int) -> tuple[int, Any]:
    """Put the loader where the run stood, and return the step and the state of its log."""
    checkpoint = run.load_checkpoint(path, task.config, task.facts)
    stored = checkpoint["matgl_ssl"].get("processes", 1)
    if stored != n_processes:
        raise RunDirectoryError(
            f"--resume: the run in {run.path} was of {stored} processes, and this one is of {n_processes}. Its batches "
            f"and random numbers are those of {stored}: give --devices (times --num-nodes) {stored}, or start another "
            f"run with {task.config.weights_option} {run.path}."
        )
    task.train.load_state_dict(checkpoint["matgl_ssl"]["loader"])  # Lightning forgets it at an epoch's end
    return int(checkpoint["global_step"]), next(iter(checkpoint["matgl_ssl"].get("log", [])), None)


@contextmanager
def _quiet_lightning(*, entirely: bool) -> Iterator[None]:
    """Without warnings of what is meant to be so; entirely: without a word on devices and ends either."""
    lightnings = logging.getLogger("lightning.pytorch")
    level = lightnings.level
    with warnings.catch_warnings():
        # Our loader builds its workers itself, from --num-workers.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings(
            "ignore", message=".*Checkpoint directory .* exists and is not empty.*"
        )  # of a resumed run
        warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a NEGNN's encoder is
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # its successor is not in older torch
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
