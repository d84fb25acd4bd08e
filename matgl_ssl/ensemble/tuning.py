"""Fine-tunings of encoders on the folds of targets: as many at once as there are CPU cores, while there is time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import NamedTuple

import joblib
import numpy as np

from matgl_ssl.console import configure_logging
from matgl_ssl.devices import choose, one_thread
from matgl_ssl.errors import MatGLSSLError, ResourceError, TrainingInterrupted
from matgl_ssl.progress import Every, duration
from matgl_ssl.training.pool import fine_tune
from matgl_ssl.work import parallel

from .config import FitConfig
from .learning import Learning
from .members import FineTuned
from .transforms import Name

logger = logging.getLogger(__name__)

FAILS = (MatGLSSLError, ValueError, ArithmeticError, np.linalg.LinAlgError)
"""What a learner may raise without ending the fit."""
_FEW = 64
"""Crystals on which the time of a fine-tuning is measured."""
_START = 60.0
"""Seconds of work that other processes are started for, which takes each of them some seconds."""


@dataclass(eq=False)
class Tuning:
    """One encoder that is fine-tuned on the folds of one target, seed by seed.

    Attributes:
        learning: What is learned of the target.
        member: The encoder.
        transform: Transformation of the labels.
        seconds: The longest time that a fold took, or before that an estimate.
        finished: With how many seeds, from the first one on, it is finished on all folds.
        error: Why it is left out; empty if it is not.
    """

    learning: Learning
    member: FineTuned
    transform: Name
    seconds: float = 0.0
    finished: int = 0
    error: str = ""

    @property
    def seeds(self) -> list[int]:
        """All seeds that were asked for."""
        return [self.learning.config.seed + i for i in range(self.learning.config.fine_tunings)]

    def missing(self, seed: int) -> list[int]:
        """The folds on which it is not finished."""
        learning = self.learning
        return [
            fold for fold in range(learning.n_folds)
            if learning.finished(self.member, self.transform, fold, seed) is None
        ]  # fmt: skip

    def grown(self) -> bool:
        """Whether it is finished with more seeds than it was."""
        before, seeds = self.finished, self.seeds
        while self.finished < len(seeds) and not self.missing(seeds[self.finished]):
            self.finished += 1
        return self.finished > before


class _Fold(NamedTuple):
    """One fine-tuning, as it is sent to another process."""

    tuning: int
    learning: Learning
    member: FineTuned
    transform: Name
    fold: int
    seed: int
    until: float  # time of the day at which the budget ends: folds are handed out a round before they begin


def _fine_tune(fold: _Fold) -> tuple[int, float, str]:
    """Fine-tune: the number of the tuning, seconds, and why it failed. After the budget's end nothing is begun.

    It takes one thread, wherever it runs: then its result is the same.
    """
    if time.time() > fold.until:
        return fold.tuning, 0.0, ""
    if parent_process():
        configure_logging(logging.WARNING)
    try:
        with one_thread():
            content = fold.learning.unit(fold.member, fold.transform, fold.fold, fold.seed)
        return fold.tuning, content["seconds"], ""
    except (TrainingInterrupted, ResourceError):
        raise
    except FAILS as err:
        return fold.tuning, 0.0, str(err)


def processes(config: FitConfig) -> int:
    """How many fine-tunings run at once: on the CPU as many as asked for, or as there are cores.

    It is one on a GPU, and by default in a process that another one started: that one has shared the cores out.
    """
    if choose(config.accelerator).kind != "cpu":
        return 1
    if config.num_workers is not None:
        return max(config.num_workers, 1)
    return 1 if parent_process() else joblib.cpu_count()


def fold_seconds(learning: Learning, member: FineTuned) -> float:
    """About how long one fine-tuning on all folds but one takes, from a few epochs on some crystals."""
    labels, config = learning.labelled.labels, learning.config
    n_labels = round(len(labels) * (learning.n_folds - 1) / learning.n_folds)
    settings = member.settings(n_labels, config.seed, squares=bool(learning.labelled.classes))
    rows = np.arange(min(len(labels), _FEW))
    pool = learning.inputs.pool(member.encoder)
    seconds = []
    for epochs in (1, 1, 3):  # the first time pays for graphs, and for what is made once
        started = time.perf_counter()
        with one_thread():
            fine_tune(pool, rows, settings.model_copy(update={"epochs": epochs}), labels=labels[rows])
        seconds.append(time.perf_counter() - started)
    epoch = max(seconds[2] - seconds[1], 0.0) / 2
    return max(seconds[1] - epoch, 0.0) + epoch / len(rows) * n_labels * settings.epochs


def tune(tunings: Sequence[Tuning], time_left: Callable[[], float]) -> Iterator[Tuning]:
    """Fine-tune on all folds, the first seed of all encoders and targets before the second one, fast encoders first.

    Args:
        tunings: What to fine-tune.
        time_left: Seconds until no other fold is started. A seed is begun if the time seems to suffice for all folds.

    Yields:
        A tuning that is finished with more seeds than before, or has failed.
    """
    if not tunings:
        return
    for tuning in tunings:
        if tuning.grown():  # an earlier call finished it
            yield tuning
        if tuning.finished < len(tuning.seeds) and time_left() > 0:
            with suppress(*FAILS):  # the first fold says so
                tuning.seconds = fold_seconds(tuning.learning, tuning.member)
    order = sorted(range(len(tunings)), key=lambda number: tunings[number].seconds)  # the most in little time
    missing = [tuning.seconds for tuning in tunings for seed in tuning.seeds for _ in tuning.missing(seed)]
    at_once = min(processes(tunings[0].learning.config), len(missing)) if sum(missing) > _START else 1

    def folds() -> Iterator[_Fold]:
        for seed in tunings[0].seeds:
            for number in order:
                tuning = tunings[number]
                left = tuning.missing(seed)
                for k, fold in enumerate(left):
                    if tuning.error or time_left() <= tuning.seconds * math.ceil((len(left) - k) / at_once):
                        break
                    until = time.time() + time_left()
                    yield _Fold(number, tuning.learning, tuning.member, tuning.transform, fold, seed, until)

    due, done = Every(), 0
    for number, seconds, error in parallel(_fine_tune, folds(), n_jobs=at_once, in_order=False):
        tuning, done = tunings[number], done + 1
        tuning.seconds, tuning.error = max(tuning.seconds, seconds), tuning.error or error
        if due() or done == len(missing):
            logger.info(
                "%d of %d fine-tunings are finished, %s each, %d at once; %s of the budget left.", done, len(missing),
                duration(seconds), at_once, duration(max(time_left(), 0)),
            )  # fmt: skip
        if tuning.grown() or error:
            yield tuning
