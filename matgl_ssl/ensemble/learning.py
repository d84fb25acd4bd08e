"""Learners of one target: each is fitted fold by fold, and what it says out of fold is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from matgl_ssl import __version__
from matgl_ssl._files import digest

from .combine import Loss, losses
from .config import FitConfig
from .folds import balanced_folds
from .inputs import Inputs
from .labels import Labelled
from .members import Fitted, Lesson, Member
from .store import Units, unit_name
from .transforms import Name, Transform, possible

logger = logging.getLogger(__name__)

ALL = -1
"""In place of a fold: fitted to all labels."""
_BETTER = 0.01
"""Share by which an error must be less before another transformation or centre than the simplest is taken."""


@dataclass(frozen=True, eq=False)
class Part:
    """One fitted model of a member.

    Attributes:
        unit: The piece that holds it.
        fold: The fold that it was not fitted to, or ``ALL``.
        seed: Its seed.
        files: SHA-256 of its files.
    """

    unit: str
    fold: int
    seed: int
    files: dict[str, str]


@dataclass(eq=False)
class Learned:
    """A member with its best transformation and centre.

    Attributes:
        member: The member.
        transform: What it learns instead of the label.
        centre: Which of its ``centres`` counts.
        out_of_fold: What it says of crystals of the fold that it was not fitted to, ``(n, 1)`` or ``(n, classes)``.
        error: Its error out of fold.
        tried: Error out of fold of each transformation and centre.
        parts: Its fitted models.
        seconds: Time that it took.
    """

    member: Member
    transform: Name
    centre: int
    out_of_fold: np.ndarray
    error: float
    tried: dict[str, float] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    seconds: float = 0.0


class Learning:
    """All that is learned of one target.

    Args:
        labelled: The labelled crystals.
        inputs: The same crystals as learners see them.
        units: Where finished pieces lie.
        config: The configuration.
    """

    def __init__(self, labelled: Labelled, inputs: Inputs, units: Units, config: FitConfig) -> None:
        self.labelled, self.inputs, self.units, self.config = labelled, inputs, units, config
        self.folds = balanced_folds(labelled.groups, labelled.labels, config.n_folds, config.seed)
        self.n_folds = int(self.folds.max()) + 1
        self.bounds = (config.lower_bound, config.upper_bound)

    @property
    def loss(self) -> Loss:
        """What errors are measured by."""
        return "log" if self.labelled.classes else self.config.loss

    def transforms(self, member: Member) -> Sequence[Name]:
        """Transformations of the labels that a member tries."""
        if self.labelled.classes or not member.transforms:
            return ("none",)
        return possible(self.labelled.labels, self.bounds)

    def learn(self, member: Member) -> Learned:
        """Try a member with every transformation, and fit the best to all labels.

        Raises:
            MatGLSSLError: If it cannot learn.
        """
        started = time.monotonic()
        found: list[Learned] = []
        for transform in self.transforms(member):
            values = self.out_of_fold(member, transform, self.config.seed)
            found += [self._learned(member, transform, i, values[:, i]) for i in range(values.shape[1])]
        best = found[0]
        for other in found[1:]:
            if other.error < best.error * (1 - _BETTER):
                best = other
        best.tried = {f"{each.transform}, {member.centres[each.centre]}": each.error for each in found}
        best.parts = [self.fitted(member, best.transform, ALL, self.config.seed)]
        best.seconds = time.monotonic() - started
        return best

    def bag(self, member: Member, transform: Name, seeds: Sequence[int]) -> Learned:
        """A member whose models of the folds are kept, and averaged over seeds; all of them are finished."""
        values = np.mean([self.out_of_fold(member, transform, seed) for seed in seeds], 0)
        learned = self._learned(member, transform, 0, values[:, 0])
        learned.parts = [self.fitted(member, transform, fold, seed) for seed in seeds for fold in range(self.n_folds)]
        contents = [self.unit(member, transform, part.fold, part.seed) for part in learned.parts]
        learned.seconds = sum(content["seconds"] for content in contents)
        return learned

    def out_of_fold(self, member: Member, transform: Name, seed: int) -> np.ndarray:
        """What a member says of crystals of the fold that it was not fitted to, ``(n, centres, k)``."""
        said = [
            np.array(self.unit(member, transform, fold, seed)["values"], dtype=float) for fold in range(self.n_folds)
        ]
        found = np.full((len(self.labelled), *said[0].shape[1:]), np.nan)
        for fold, values in enumerate(said):
            found[self.folds == fold] = values
        return self._filled(found)

    def fitted(self, member: Member, transform: Name, fold: int, seed: int) -> Part:
        """The fitted model of a fold, or of all labels."""
        content = self.unit(member, transform, fold, seed)
        return Part(self.name(member, transform, fold, seed), fold, seed, content["files"])

    def finished(self, member: Member, transform: Name, fold: int, seed: int) -> dict[str, Any] | None:
        """A piece, if it is finished."""
        return self.units.get(self.name(member, transform, fold, seed))

    def unit(self, member: Member, transform: Name, fold: int, seed: int) -> dict[str, Any]:
        """A piece, made if it is not finished: out-of-fold predictions, seconds, files."""
        if found := self.finished(member, transform, fold, seed):
            return found
        started = time.monotonic()
        inside = self.folds == fold
        transformation = self.transform(transform, fold)
        fitted = self._fit(member, transformation, np.flatnonzero(~inside), seed)
        said = transformation.back(fitted.predict(self.inputs.take(np.flatnonzero(inside)))) if inside.any() else None
        content = {"values": None if said is None else _plain(said), "seconds": time.monotonic() - started}
        keeps = fold == ALL or member.bagged
        return self.units.keep(self.name(member, transform, fold, seed), content, fitted.save if keeps else None)

    def transform(self, name: Name, fold: int) -> Transform:
        """A transformation, fitted to the labels outside of a fold."""
        return Transform.fit(name, self.labelled.labels[self.folds != fold], self.bounds)

    def name(self, member: Member, transform: Name, fold: int, seed: int) -> str:
        """The name of a piece: whatever determines it."""
        fields = {k: v for k, v in asdict(member).items() if k not in ("start", "accelerator")}
        facts = {
            "version": __version__, "labels": self.labelled.fingerprint, "member": [member.kind, fields],
            "depends": member.depends_on(), "transform": transform, "seed": seed, "bounds": self.bounds,
            "fitted to": digest([np.flatnonzero(self.folds != fold).tobytes()], 16),
        }  # fmt: skip
        which = "all" if fold == ALL else f"fold {fold}"
        return unit_name(f"{member.name} {transform} {which} seed {seed}", facts)

    def _fit(self, member: Member, transform: Transform, rows: np.ndarray, seed: int) -> Fitted:
        labelled = self.labelled
        labels, weights = labelled.labels[rows], None if labelled.weights is None else labelled.weights[rows]
        return member.fit(
            Lesson(
                self.inputs.take(rows), transform(labels), weights, labelled.groups[rows], len(labelled.classes), seed
            )
        )

    def _filled(self, values: np.ndarray) -> np.ndarray:
        """Crystals that a member cannot be given get the median of the other folds, or the classes' shares."""
        labels, classes = self.labelled.labels, len(self.labelled.classes)
        for fold in range(self.n_folds):
            inside = self.folds == fold
            others = labels[~inside]
            constant = (
                np.bincount(others.astype(int), minlength=classes) / len(others) if classes else np.median(others)
            )
            values[inside] = np.where(np.isfinite(values[inside]), values[inside], constant)
        return values if classes else np.clip(values, *self._limits)

    @property
    def _limits(self) -> tuple[float, float]:
        low, high = self.bounds
        return -np.inf if low is None else low, np.inf if high is None else high

    def _learned(self, member: Member, transform: Name, centre: int, values: np.ndarray) -> Learned:
        errors = losses(values, self.labelled.labels, self.loss)
        return Learned(member, transform, centre, values, float(np.average(errors, weights=self.labelled.weights)))


def _plain(values: np.ndarray) -> Any:
    """As JSON has it."""
    whole = values.astype(object)
    whole[~np.isfinite(values)] = None
    return whole.tolist()
