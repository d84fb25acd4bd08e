"""The Lightning trainer as both verbs use it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from .guards import FiniteGuard
from .loader import SeededLoader
from .log import LogSteps, MetricsCSV
from .module import TrainingModule
from .rundir import RunDirectory

logger = logging.getLogger(__name__)


class EpochLines(L.Callback):
    """One log line an epoch, for terminals and files that cannot show a progress bar."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Say how the epoch went."""
        shown = {k: f"{float(v):.4g}" for k, v in trainer.callback_metrics.items() if k.endswith(("loss", "/s"))}
        line = "  ".join(f"{k} {v}" for k, v in shown.items())
        logger.info("epoch %d/%s  %s", trainer.current_epoch + 1, trainer.max_epochs, line)


def fit(
    module: TrainingModule,
    train: SeededLoader,
    val: SeededLoader | None,
    *,
    config: RunConfig,
    run: RunDirectory,
    checkpoint: Any,
    facts: dict[str, Any],
    callbacks: Sequence[L.Callback] = (),
) -> L.Trainer:
    """Train, or go on training, until the configured epochs are done.

    Args:
        module: What to train.
        train: Training batches.
        val: Held-out batches, always the same.
        config: The run's configuration.
        run: Its directory.
        checkpoint: Where to go on from; None starts anew.
        facts: What must be the same when a run is resumed (a fingerprint of the data).
        callbacks: Further callbacks.

    Raises:
        ConfigError: If there is more than one device to train on.
        RunDirectoryError: If the run to be resumed saw other facts.
        NonFiniteError: At the first loss or gradient that is not finite.
        TrainingInterrupted: After a signal, with the state saved.
    """
    keep_steps = None
    if checkpoint is not None:
        keep_steps = _restore_position(run, facts, train, config)
    else:
        run.write_facts(facts)
    interactive = sys.stderr.isatty()
    module.run_identity = run.identity(config, facts)
    devices = choose(config.accelerator, config.devices)
    fit_to(module, devices.first)
    trainer = L.Trainer(
        max_epochs=config.epochs,
        **devices.trainer_options(),
        default_root_dir=run.path,
        logger=_loggers(run, keep_steps),
        gradient_clip_val=config.clip,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if val is not None else 0,
        enable_model_summary=False,
        enable_progress_bar=interactive,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,  # epochs may differ in their number of batches
        callbacks=[
            FiniteGuard(run.incidents),
            LogSteps(),
            *callbacks,
            TQDMProgressBar() if interactive else EpochLines(),
            ResumableCheckpoint(run.checkpoint, minutes=config.checkpoint_minutes),
        ],
    )
    if trainer.world_size > 1:  # losses are of the joint batch; run directory, schedule and resume are not made for it
        raise ConfigError(f"Runs are of one device, not {trainer.world_size}: give --devices 1 (with --resume here).")
    with warnings.catch_warnings(), deterministic_on_cpu(trainer.strategy.root_device.type == "cpu"):
        # Our loader builds its workers itself, from --num-workers.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a NEGNN's encoder is
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning on torch >= 2.10
        accelerate(module.encoder.model)
        module.train()  # models come loaded in eval mode, and Lightning keeps the mode it finds
        loaders = [train] if val is None else [train, val]
        try:
            for loader in loaders:
                loader.start()
            trainer.fit(module, train, val, ckpt_path=checkpoint, weights_only=True)
        finally:
            for loader in loaders:
                loader.close()
    return trainer


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


def _restore_position(run: RunDirectory, facts: dict[str, Any], train: SeededLoader, config: RunConfig) -> int:
    """Put the loader where the run stood, and return the step."""
    checkpoint = run.load_checkpoint(config, facts)
    train.load_state_dict(checkpoint["matgl_ssl"]["loader"])  # Lightning forgets it at an epoch's end
    return int(checkpoint["global_step"])


def _loggers(run: RunDirectory, keep_steps: int | None) -> list[Logger]:
    loggers: list[Logger] = [MetricsCSV(run.metrics, keep_steps)]
    with suppress(ModuleNotFoundError):
        loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
    return loggers
