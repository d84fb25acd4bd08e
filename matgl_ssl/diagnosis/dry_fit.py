"""``--dry-run`` of ``fit``: which learners would be tried on which labels, and how long the slow ones take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.acceleration import using
from matgl_ssl.boundary import verb
from matgl_ssl.config import read_yaml
from matgl_ssl.ensemble.config import FitConfig
from matgl_ssl.ensemble.encoders import PretrainedEncoder
from matgl_ssl.ensemble.fit import quick_members, refuse_others
from matgl_ssl.ensemble.inputs import Inputs
from matgl_ssl.ensemble.labels import read_labelled
from matgl_ssl.ensemble.learning import Learning
from matgl_ssl.ensemble.members import FineTuned
from matgl_ssl.ensemble.store import Units
from matgl_ssl.ensemble.tuning import fold_seconds, processes
from matgl_ssl.progress import duration
from matgl_ssl.training.data import describe
from matgl_ssl.training.provenance import public_name

from .dry_run import lines, measuring, seconds_of
from .estimate import memory

_COMPUTED = 32
"""Crystals on which the time of descriptors is measured."""


@dataclass(frozen=True)
class FitPlan:
    """What ``fit`` would do.

    Attributes:
        verb: ``fit``.
        labels: Number of labels of each target.
        formulas: Number of reduced formulas among them, for each target.
        left_out: Number of crystals without a usable structure or label, for each target.
        folds: Number of folds for cross-validation.
        learners: Names of the quick learners.
        fine_tunings: Number of fine-tunings of each encoder on all folds, by the name of the encoder.
        descriptor_seconds: Estimated time to compute descriptors. The cache may save it.
        fine_tuning_seconds: Estimated time of all fine-tunings, by the name of the encoder.
        budget_seconds: After this time no other learner is started.
        memory_bytes: Largest memory that the process has had.
        writes: Files and folders that would be written.
    """

    verb: str
    labels: dict[str, int]
    formulas: dict[str, int]
    left_out: dict[str, int]
    folds: int
    learners: list[str]
    fine_tunings: dict[str, int]
    descriptor_seconds: float
    fine_tuning_seconds: dict[str, float]
    budget_seconds: float
    memory_bytes: int
    writes: list[str]

    def __str__(self) -> str:
        return "\n".join(lines(self.verb, self._rows()))

    def _rows(self) -> Iterator[tuple[str, str]]:
        for name, n in self.labels.items():
            skipped = f", {self.left_out[name]:,} crystals left out" if self.left_out[name] else ""
            yield "labels", f"{name}: {n:,} of {self.formulas[name]:,} formulas{skipped}"
        yield "folds", f"{self.folds}"
        yield "learners", f"{len(self.learners)} quick ones"
        for name, seconds in self.fine_tuning_seconds.items():
            yield "", f"{self.fine_tunings[name]} fine-tunings of {name} on all folds: about {duration(seconds)}"
        yield "targets", f"about {duration(self.descriptor_seconds)} for descriptors, less if they are in the cache"
        yield "time", f"no learner is started after {duration(self.budget_seconds)} (--budget)"
        if self.memory_bytes:
            yield "memory", f"{self.memory_bytes / 1e9:.1f} GB so far"
        yield "writes", ", ".join(self.writes)


@verb
@using
def plan_fit(*, data: Any, out: str | Path, config: str | Path | None = None, **options: Any) -> FitPlan:
    """What ``fit`` would do with these arguments.

    Args:
        data: As for ``fit``.
        out: Likewise; it is not written.
        config: Likewise.
        **options: Likewise.

    Raises:
        MatGLSSLError: As ``fit``.
    """
    settings = FitConfig.build({**(read_yaml(config) if config else {}), **options}, {"data": describe(data)})
    labelled = read_labelled(data, settings)
    refuse_others(Path(out), labelled)
    encoders = {public_name(name): PretrainedEncoder.load(public_name(name), name) for name in settings.encoders}
    first = labelled[0]
    learning = Learning(first, Inputs.of(first.crystals, encoders), Units(Path(out)), settings)
    with measuring():
        some = first.crystals.select(np.arange(min(len(first), _COMPUTED)))
        each = seconds_of(lambda part: Inputs.of(part).more_descriptors, some)
        tuned = {}
        if settings.fine_tunings and len(first.classes) <= 2:
            members = [FineTuned.of(each, settings.finetune, settings.accelerator) for each in encoders.values()]
            tuned = {member.encoder: fold_seconds(learning, member) for member in members}
    n_crystals = len({id_ for target in labelled for id_ in target.crystals.ids})
    times = learning.n_folds * settings.fine_tunings * len(labelled)
    files = ["fit.yaml", "ensemble.json", "report.md", "report.html", "units/", "encoders/", "model/"]
    return FitPlan(
        "fit",
        {target.name: len(target) for target in labelled},
        {target.name: len(set(target.groups.tolist())) for target in labelled},
        {target.name: target.n_total - len(target) for target in labelled},
        learning.n_folds,
        [member.name for member in quick_members(settings, encoders)],
        dict.fromkeys(tuned, settings.fine_tunings),
        each * n_crystals / max(settings.num_workers or 0, 1),
        {name: seconds * times / min(processes(settings), times) for name, seconds in tuned.items()},
        settings.budget * 60,
        memory(),
        [f"{out}/{name}" for name in files],
    )
