"""Save the state of a run so that it can continue exactly, also after somebody stops it."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from matgl_ssl._files import second_name
from matgl_ssl.errors import TrainingInterrupted

from .team import Largest


class ResumableCheckpoint(Checkpoint):
    """Keep ``last.ckpt`` fresh: at an epoch's end, every few minutes, and when SIGINT or SIGTERM arrives.

    Epochs that are over sooner than fifty times what saving takes share a checkpoint.

    A signal lets the step under way finish, saves, and raises ``TrainingInterrupted``; a second one, a second later or
    more, does not wait. One that reaches any process of a run stops all of them after the same step, at the latest the
    next: they ask each other when it begins, so that nobody waits for the answer. The file is replaced in one move, and
    the one before it is kept, in case the disk damages the new one.

    Args:
        path: The checkpoint file.
        previous: Where the one before it is kept.
        minutes: Longest time between checkpoints within an epoch.
    """

    def __init__(self, path: Path, previous: Path, *, minutes: float = 5.0) -> None:
        self.path = path
        self.previous = previous
        self.seconds = 60 * minutes
        self._signum = 0
        self._saved = time.monotonic()
        self._took = 0.0
        self._asked: Largest | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Listen to signals. Lightning puts back every handler it found, these two included, when training ends."""
        first = 0.0

        def remember(signum: int, frame: FrameType | None) -> None:
            nonlocal first
            if not self._signum:
                self._signum, first = signum, time.monotonic()
            elif time.monotonic() - first > 1:  # `timeout` and terminals send the same one twice at once
                raise KeyboardInterrupt

        if threading.current_thread() is threading.main_thread():  # nobody else may listen
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, remember)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Ask the other processes, if there are any."""
        self._asked = Largest(*self._wishes()) if trainer.world_size > 1 else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        """Log, and save if it is time to; an epoch's last batch waits for its end, when its metrics are complete."""
        pl_module.log_step()  # here, because the module's own hook runs after checkpoints were written
        signum, due = self._asked.wait() if self._asked else self._wishes()
        if (signum or due) and not trainer.is_last_batch:
            self._save(trainer, signum)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the finished epoch, if saving has not taken more than a fiftieth of the time since the last."""
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        signum, due = Largest(self._signum, time.monotonic() - self._saved >= 50 * self._took).wait()
        if is_last or signum or due:
            self._save(trainer, signum)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Pass on a signal that came after the last checkpoint."""
        if self._signum:
            signal.raise_signal(self._signum)

    def _wishes(self) -> tuple[int, bool]:
        """The signal that came, and whether a checkpoint is due."""
        return self._signum, time.monotonic() - self._saved > self.seconds

    def _save(self, trainer: L.Trainer, signum: int) -> None:
        started = time.monotonic()
        for logger in trainer.loggers:
            logger.save()
        if trainer.is_global_zero and self.path.exists():
            second_name(self.path, self.previous)
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()
        self._took = self._saved - started
        if signum:
            name = signal.Signals(signum).name
            raise TrainingInterrupted(
                f"{name}: stopped at step {trainer.global_step}, saved in {self.path}. "
                "Run the same command with --resume to continue exactly from there.",
                signum,
            )
