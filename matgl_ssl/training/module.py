"""What pretraining and fine-tuning share: one Lightning module that logs, schedules, and resumes exactly."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import lightning as L
import numpy as np
import torch
from torch import Tensor

from matgl_ssl._files import write_text
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import NonFiniteError
from matgl_ssl.formats import header
from matgl_ssl.losses import JointMeans, rank_and_world

from .config import OptimizerConfig
from .log import MetricsCSV
from .team import everyones

T = TypeVar("T")


class Means:
    """Running means over batches, weighted by crystals. Python's numbers: there is no float64 on some devices."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.count = 0

    def add(self, metrics: Mapping[str, float], n: int) -> None:
        """Add the means of a batch of ``n`` crystals."""
        self.count += n
        for name, value in metrics.items():
            self.totals[name] = self.totals.get(name, 0.0) + n * value

    def take(self, prefix: str) -> dict[str, float]:
        """The means so far; then start again."""
        means = {f"{prefix}{name}": float(total) / self.count for name, total in self.totals.items()}
        self.totals, self.count = {}, 0
        return means


class TrainingModule(L.LightningModule):
    """Trains whatever ``score`` puts a loss on.

    Checkpoints hold, besides Lightning's, the random states and the running means, so that a run resumed in the middle
    of an epoch ends with bit-identical weights and log.

    Args:
        optimizer: Learning rate, schedule and weight decay.
        total_steps: Optimiser steps of the whole run.
        log_every: Steps between rows of the log.
    """

    def __init__(self, optimizer: OptimizerConfig, *, total_steps: int, log_every: int = 10) -> None:
        super().__init__()
        self.encoder: Encoder  # set by subclasses
        self.optimizer_config = optimizer
        self.total_steps = total_steps
        self.log_every = log_every
        self.incidents: Path | None = None
        self.run_identity: dict[str, Any] = {}
        self.train_means, self.val_means = Means(), Means()
        self.epoch_metrics: dict[str, float] = {}
        self._random_state: dict[str, Any] | None = None
        self._clock = (0.0, 0.0)
        self._n_seen = 0
        self._ids: list[str] = []
        self._step: dict[str, float] = {}
        self._joint: JointMeans

    def score(self, batches: list[CrystalBatch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of the views of a batch."""
        raise NotImplementedError

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Parameters with their learning rates as multiples of the configured one (key ``factor``)."""
        yield {"params": [p for p in self.parameters() if p.requires_grad], "factor": 1.0}

    def on_train_start(self) -> None:
        """Start the clock of the first epoch, its first batch included; dropout differs from rank to rank."""
        if self.global_rank:
            torch.manual_seed(torch.initial_seed() + self.global_rank)
        self._start_clock()

    def training_step(self, batches: list[CrystalBatch], batch_idx: int) -> Tensor:
        """One step of Lightning's loop."""
        self._ids = batches[0].ids
        loss, metrics = self.score(batches)
        self._joint = JointMeans({"loss": loss, **metrics}, len(batches[0]))
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Account for the step, once all processes have its gradient; stop if the loss is no number."""
        means, n = self._joint.wait()
        if not math.isfinite(means["loss"]):
            self._stop(f"the loss is {means['loss']}")
        self.train_means.add(means, n)
        self._step = {**means, "lr": self.trainer.optimizers[0].param_groups[-1]["lr"]}
        self._n_seen += n
        if self.loggers and (self.global_step % self.log_every == 0 or self.trainer.is_last_batch):
            bar = {k: v for k, v in means.items() if k.endswith("loss")}
            self.log_dict({**bar, "structures/s": self._n_seen / self._elapsed()[0]}, prog_bar=True, logger=False)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *args: Any, **kw: Any) -> None:
        """Clip the gradient's norm; stop if there is none, before the weights are touched."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        if not bool(torch.isfinite(norm)):
            self._stop(f"the gradient's norm is {float(norm)}")

    def _stop(self, what: str) -> NoReturn:
        """Write down the crystals of the batch, and raise."""
        where = ""
        if self.incidents:
            path = self.incidents / f"step-{self.global_step}.json"
            ids = [i for part in everyones(self._ids) for i in part]
            incident = {"step": self.global_step, "epoch": self.current_epoch, "what": what, "ids": ids}
            if self.global_rank == 0:
                write_text(path, json.dumps(incident, indent=1))
            where = f" Its crystals are listed in {path}; the last checkpoint is intact."
        raise NonFiniteError(
            f"Step {self.global_step}: {what}, and the weights were not updated.{where} Try a smaller learning rate "
            f"than {self.optimizer_config.lr:g} (--lr), or look at those crystals with `mgl-ssl doctor`."
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Put the random states of a checkpoint back, after everything Lightning does before the first batch."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None

    def log_step(self) -> None:
        """Log a row every ``log_every`` steps."""
        if self.global_step % self.log_every == 0:
            self._log_row(self._step)

    def validation_step(self, batches: list[CrystalBatch], batch_idx: int) -> None:
        """Score a held-out batch."""
        loss, metrics = self.score(batches)
        self.val_means.add(*JointMeans({"loss": loss, **metrics}, len(batches[0])).wait())

    def on_validation_epoch_end(self) -> None:
        """Average over the held-out crystals."""
        self.epoch_metrics |= self.val_means.take("val_")
        self.log("val_loss", self.epoch_metrics["val_loss"], prog_bar=True, logger=False, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's row."""
        row = {"epoch": self.current_epoch, **self.train_means.take("train_"), **self.epoch_metrics}
        if self._n_seen:
            seconds, waited = self._elapsed()
            row |= {"seconds": seconds, "structures_per_second": self._n_seen / seconds, "waiting": waited / seconds}
        self.epoch_metrics = {}
        self._log_row(row)
        self._start_clock()

    def _start_clock(self) -> None:
        self._clock, self._n_seen = (time.perf_counter(), self.trainer.train_dataloader.waited), 0

    def _elapsed(self) -> tuple[float, float]:
        """Seconds since the clock was started, and how many of them the steps waited for their batches."""
        return time.perf_counter() - self._clock[0], self.trainer.train_dataloader.waited - self._clock[1]

    def _log_row(self, row: Mapping[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(row), step=self.global_step)

    def configure_optimizers(self) -> Any:
        """AdamW with one of the schedules of ``OptimizerConfig``, by step."""
        config = self.optimizer_config
        by_factor: dict[float, list[torch.nn.Parameter]] = {}
        for group in self.parameter_groups():
            by_factor.setdefault(group["factor"], []).extend(group["params"])
        groups = [{"params": found, "lr": config.lr * factor} for factor, found in by_factor.items() if found]
        # One pass over hundreds of small tensors. On GPUs Lightning refuses it beside clipping in 16 bits.
        fused = all(p.device.type == "cpu" for found in by_factor.values() for p in found)
        optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused or None)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, Schedule(config, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning forgets."""
        checkpoint["matgl_ssl"] = {
            **header("checkpoint"),
            "run": self.run_identity,
            "processes": rank_and_world()[1],
            "random_states": everyones(get_random_state()),
            "means": {"totals": self.train_means.totals, "count": self.train_means.count},
            "epoch_metrics": self.epoch_metrics,
            "loader": self.trainer.train_dataloader.state_dict(),
            "log": [log.state(self.global_step) for log in self.loggers if isinstance(log, MetricsCSV)],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        state = checkpoint["matgl_ssl"]
        states = state.get("random_states") or [state["random_state"]]  # version 0.1 knew one process
        self._random_state = states[self.global_rank]
        self.train_means.totals, self.train_means.count = state["means"]["totals"], state["means"]["count"]
        self.epoch_metrics = state["epoch_metrics"]


class Schedule:
    """Learning-rate factor of a step: linear warm-up, then constant or a cosine to zero; picklable.

    Args:
        config: The optimiser's configuration.
        total_steps: Optimiser steps of the whole run.
    """

    def __init__(self, config: OptimizerConfig, total_steps: int) -> None:
        self.warmup = max(1, round(config.warmup * total_steps))
        self.total = max(total_steps, self.warmup + 1)
        self.cosine = config.schedule == "cosine"

    def __call__(self, step: int) -> float:
        """The factor of a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if not self.cosine:
            return 1.0
        progress = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return 0.5 * (1.0 + float(np.cos(np.pi * progress)))


def get_random_state() -> dict[str, Any]:
    """States of torch's global generators, which dropout draws from; nothing else here draws from any."""
    on_gpu = torch.cuda.is_available()
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if on_gpu else []}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put back what ``get_random_state`` took."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def initialise(build: Callable[[], T], seed: int) -> T:
    """Build a module with every random weight a function of the seed."""
    L.seed_everything(seed, workers=True, verbose=False)
    return build()
