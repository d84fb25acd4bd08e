"""``fit``: from a table of labelled crystals to the best prediction that this package can make, with its error."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import yaml

from matgl_ssl._files import digest, write_text
from matgl_ssl._folders import atomic_folder
from matgl_ssl.acceleration import using
from matgl_ssl.boundary import verb
from matgl_ssl.config import read_yaml
from matgl_ssl.errors import ConfigError, MatGLSSLError, ResourceError, RunDirectoryError, TrainingInterrupted
from matgl_ssl.formats import signed
from matgl_ssl.progress import track
from matgl_ssl.reporting import draw, keep_crystals
from matgl_ssl.training.data import describe
from matgl_ssl.training.environment import environment
from matgl_ssl.training.exclusive import exclusive
from matgl_ssl.training.options import with_options
from matgl_ssl.training.provenance import public_name

from .combination import Combination, combine
from .config import FitConfig
from .curve import Expected, learning_curve
from .encoders import PretrainedEncoder
from .explain import average_parts
from .inputs import Inputs
from .labels import Labelled, read_labelled
from .learning import Learned, Learning
from .members import FineTuned, GaussianProcess, Kernels, Line, Median, Member, Trees
from .members.finetuned import MODEL
from .plain import PlainModel, plain_model
from .predictor import ENCODERS, MANIFEST, UNITS, Predictor, described, manifest
from .report import report, section
from .shown import shown
from .store import Units, slug
from .transforms import Name
from .tuning import FAILS, Tuning, tune
from .unfamiliar import unseen_factor

if TYPE_CHECKING:
    from matgl_ssl.options import FitKeywords

logger = logging.getLogger(__name__)

SETTINGS = "fit.yaml"
REPORT = "report.md"
_PLAIN = "the plain MatGL model"
_EXPLAINED = 100
"""Labelled crystals that the report's explanation is averaged over."""
_FOR_PLAIN = 0.2
"""Share of the budget that fine-tunings leave to the plain MatGL model."""
_MANY = 2000
"""Labels above which kernels and lines take longer than they are worth."""


@dataclass(frozen=True)
class TargetResult:
    """How well a target is predicted; errors are out of fold, in the measure that was asked for.

    Attributes:
        error: Of the combination.
        trivial: Of the median, or of the classes' shares.
        members: Of each learner.
        weights: How much each learner counts.
        coverage: Share of crystals in their interval; NaN for classes.
        failed: Learners that are no part of it, and why.
        curve: Errors with fewer labels and, extrapolated, with more.
        plain: The plain MatGL model; None where there is none.
    """

    error: float
    trivial: float
    members: dict[str, float]
    weights: dict[str, float]
    coverage: float
    failed: dict[str, str]
    curve: list[Expected]
    plain: Path | None


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` leaves behind.

    Attributes:
        out: The directory, which ``predict`` takes as a model.
        report: What was found, in words.
        targets: How well each target is predicted.
        finished: Whether nothing was left for want of time.
    """

    out: Path
    report: Path
    targets: dict[str, TargetResult]
    finished: bool

    def __str__(self) -> str:
        lines = [
            f"{name}  cross-validated error {found.error:.4g}; a constant has {found.trivial:.4g}"
            for name, found in self.targets.items()
        ]
        if (self.out / MODEL).exists():
            lines.append(f"model    {self.out / MODEL} (MatGL loads it alone; its predictions have no intervals)")
        lines += [f"report   {self.report}", f"predict  mgl-ssl predict -m {self.out} --data POSCAR"]
        if not self.finished:
            lines.append("The budget was used up. The same command with a larger --budget continues.")
        return "\n".join(lines)


@dataclass(eq=False)
class _Clock:
    """The time that is left."""

    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.minutes * 60 - (time.monotonic() - self.started)


@dataclass(eq=False)
class _State:
    """What is known of one target so far."""

    learning: Learning
    members: dict[str, Learned] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    factor: float = 1.5
    combination: Combination | None = None
    curve: list[Expected] = field(default_factory=list)
    plain: PlainModel | None = None
    parts: dict[str, float] = field(default_factory=dict)


@with_options(FitConfig)
@verb
@using
@exclusive
def fit(*, data: Any, out: str | Path, config: str | Path | None = None, **options: Unpack[FitKeywords]) -> FitResult:
    """Predict a property from few labels as well as this package can, with an interval for each prediction.

    Trees, kernels and lines on descriptors and textbook estimates, kernels on vectors of pretrained encoders, and
    fine-tuned encoders are tried on folds that keep formulas together. Their weights are those that err least on labels
    that they did not see. What is finished is kept: the same call continues after it was stopped, or with more time.

    Args:
        data: Labelled crystals (see ``read_crystals``).
        out: The directory to be written, new or of the same labels.
        config: YAML file with any of the options below; options given here win over it.
        **options: The fields of ``FitConfig``.

    Returns:
        Where it is, and how good it is.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    given = {**(read_yaml(config) if config else {}), **options}
    settings = FitConfig.build(given, {"data": describe(data)})
    clock = _Clock(settings.budget)
    root = Path(out)
    labelled = read_labelled(data, settings)
    refuse_others(root, labelled)
    encoders = {public_name(name): PretrainedEncoder.load(public_name(name), name) for name in settings.encoders}
    if len(encoders) < len(settings.encoders):
        raise ConfigError(f"Two of the encoders are called {' and '.join(encoders)}: give them different names.")
    _start(root, settings, labelled, encoders)
    units = Units(root / UNITS)
    states = []
    for each in labelled:
        inputs = Inputs.of(each.crystals, encoders, settings.num_workers or 0)
        states.append(_State(Learning(each, inputs, units, settings)))
        logger.info("%s: %d labels of %d formulas.", each.name, len(each), len(set(each.groups.tolist())))
    finished = [_quick(state, clock) for state in states]
    _write(states, root, encoders)
    _draw(states, root)  # fine-tunings take minutes, and may be interrupted
    for _ in _slow(states, clock, finished):
        _write(states, root, encoders)
    _explain(states, root)
    _plain_models(states, root, clock)
    _write(states, root, encoders)
    _draw(states, root)
    return FitResult(root, root / REPORT, {s.learning.labelled.name: _result(s) for s in states}, all(finished))


def refuse_others(root: Path, labelled: Sequence[Labelled]) -> None:
    """Refuse a directory that holds anything but a fit to these labels.

    Raises:
        RunDirectoryError: If it does.
    """
    used = root / SETTINGS
    if not used.exists():
        if root.is_dir() and any(path.name != ".lock" for path in root.iterdir()):
            raise RunDirectoryError(f"{root} is not empty and holds no fit. Give another --out (out=).")
        return
    stored = read_yaml(used)
    if stored.get("labels") != _facts(labelled):
        raise RunDirectoryError(
            f"{root} holds a fit to other labels ({', '.join(stored.get('labels', {}))} of {stored.get('data')}). Give "
            "another --out (out=), or remove it."
        )


def _facts(labelled: Sequence[Labelled]) -> dict[str, str]:
    return {each.name: digest([each.fingerprint], 16) for each in labelled}


def _start(
    root: Path, settings: FitConfig, labelled: Sequence[Labelled], encoders: Mapping[str, PretrainedEncoder]
) -> None:
    """Write the options down, and copy the encoders, so that the directory needs nothing else."""
    content = {"labels": _facts(labelled), **settings.model_dump(mode="json")}
    write_text(root / SETTINGS, yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))
    write_text(root / "environment.json", json.dumps(signed("environment", environment()), indent=1))
    for name, encoder in encoders.items():
        folder = root / ENCODERS / slug(name)
        if not folder.exists() or PretrainedEncoder.load(name, folder).weights != encoder.weights:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic_folder(folder) as partial:
                shutil.copytree(encoder.path, partial)


def quick_members(settings: FitConfig, encoders: Mapping[str, PretrainedEncoder]) -> list[Member]:
    """The learners that take seconds. The first one is the trivial one, which does not see the crystals."""
    constant = "mean" if settings.loss == "mse" else "median"
    members: list[Member] = [
        Median("shares of the classes" if settings.task == "classification" else constant, strategy=constant),
        Trees("trees on descriptors"),
        Trees("trees on more descriptors", numbers="more descriptors"),
        Kernels("kernels on descriptors"),
    ]
    if settings.task == "regression":
        members += [
            GaussianProcess("Gaussian process on descriptors"),
            GaussianProcess("Gaussian process on more descriptors", numbers="more descriptors"),
            Line("line along one estimate"),
        ]
    for name, encoder in encoders.items():
        given = {"encoder": name, "weights": encoder.weights}
        members.append(Kernels(f"kernels on vectors of {name}", numbers="vectors", **given))
        members.append(Kernels(f"kernels on both with {name}", numbers="vectors and descriptors", **given))
    return members


def _quick(state: _State, clock: _Clock) -> bool:
    """Learners that take seconds, the trivial one and trees whatever the time; whether all were tried."""
    learning, settings = state.learning, state.learning.config
    in_time = True
    members = quick_members(settings, learning.inputs.encoders)
    for i, member in enumerate(track(members, "fitting quick learners", len(members))):
        if i > 1 and clock.left <= 0:
            state.failed[member.name] = "no time was left; a larger --budget continues with it"
            in_time = False
        elif isinstance(member, Kernels | GaussianProcess | Line) and len(learning.labelled) > _MANY:
            state.failed[member.name] = f"it takes too long with more than {_MANY:,} labels"
        else:
            with _noting(state, member.name):
                state.members[member.name] = learned = learning.learn(member)
                logger.info("%s: error %.4g after %.0f s.", member.name, learned.error, learned.seconds)
    trees = next((learned for learned in state.members.values() if isinstance(learned.member, Trees)), None)
    if trees and not learning.labelled.classes:
        state.factor = unseen_factor(learning, trees)
    return in_time


def _slow(states: Sequence[_State], clock: _Clock, finished: list[bool]) -> Iterator[None]:
    """Fine-tunings; yields when one is finished with another seed, or fails."""
    tunings: dict[Tuning, _State] = {}
    for state in states:
        for encoder in state.learning.inputs.encoders.values():
            settings = state.learning.config
            member = FineTuned.of(encoder, settings.finetune, settings.accelerator)
            tunings[Tuning(state.learning, member, _like_vectors(state, encoder.name))] = state
    for tuning in tune([*tunings], lambda: clock.left - _FOR_PLAIN * clock.minutes * 60):
        state, member = tunings[tuning], tuning.member
        with _noting(state, member.name):
            if tuning.error:
                raise MatGLSSLError(tuning.error)
            seeds = tuning.seeds[: tuning.finished]
            state.members[member.name] = learned = state.learning.bag(member, tuning.transform, seeds)
            logger.info("%s: error %.4g with %d seeds.", member.name, learned.error, len(seeds))
        yield
    for tuning, state in tunings.items():
        if not tuning.error and tuning.finished < len(tuning.seeds):
            finished[states.index(state)] = False
            if not tuning.finished:
                state.failed[tuning.member.name] = "no time was left; a larger --budget continues with it"


def _like_vectors(state: _State, encoder: str) -> Name:
    """The transformation that was best for kernels on the encoder's vectors: to try others takes minutes."""
    alone = state.members.get(f"kernels on vectors of {encoder}") or state.members.get("trees on descriptors")
    return alone.transform if alone else "none"


def _explain(states: Sequence[_State], root: Path) -> None:
    """What predictions come from, on average over labelled crystals."""
    for state, together in zip(states, Predictor.load(root).targets, strict=True):
        if not together.classes:
            inputs = state.learning.inputs
            with _noting(state, "what predictions come from"):
                state.parts = average_parts(together, inputs.take(np.arange(min(len(inputs), _EXPLAINED))))


def _plain_models(states: Sequence[_State], root: Path, clock: _Clock) -> None:
    """One network a target that MatGL loads alone, where a network can say what the combination says."""
    for state, together in zip(states, Predictor.load(root).targets, strict=True):
        learning = state.learning
        encoders = learning.inputs.encoders
        if learning.labelled.classes or learning.config.per_atom or not encoders:
            continue
        if clock.left <= 0:
            state.failed[_PLAIN] = "no time was left; a larger --budget continues with it"
            continue
        tuned = {m.member.encoder: m.error for m in state.members.values() if isinstance(m.member, FineTuned)}
        encoder = encoders[min(tuned or encoders, key=lambda name: tuned.get(name, 0.0))]
        path = root / MODEL if len(states) == 1 else root / MODEL / slug(learning.labelled.name)
        with _noting(state, _PLAIN):
            state.plain = plain_model(learning, together, encoder, path)


@contextmanager
def _noting(state: _State, name: str) -> Iterator[None]:
    """Go on without a learner that fails, and say why; a signal and a full disk end the fit."""
    try:
        yield
    except (TrainingInterrupted, ResourceError):
        raise
    except FAILS as err:
        state.failed[name] = str(err)
        state.members.pop(name, None)
        logger.warning("%s is left out: %s", name, err)


def _write(states: Sequence[_State], root: Path, encoders: Mapping[str, PretrainedEncoder]) -> None:
    """Bring together what there is, and write it down: from then on ``predict`` finds it."""
    targets, sections = [], []
    for state in states:
        state.combination = combine(state.learning, tuple(state.members.values()))
        # A line has two numbers to learn: it says nothing of what more labels give.
        if quick := [m for m in state.combination.members[1:] if not (m.member.bagged or isinstance(m.member, Line))]:
            best = min(quick, key=lambda learned: learned.error)
            with _noting(state, "learning curve"):
                state.curve = learning_curve(state.learning, best, state.combination.error)
        found = state.combination, state.failed, state.factor, state.curve, state.plain, state.parts
        sections.append(section(state.learning, *found))
        known = {"curve": [vars(each) for each in state.curve], "parts": state.parts, "failed": state.failed}
        targets.append(described(state.learning, state.combination, state.factor, root) | known)
    write_text(root / MANIFEST, manifest(targets, encoders))
    write_text(root / REPORT, report(sections))


def _draw(states: Sequence[_State], root: Path) -> None:
    """Draw the report of what there is."""
    with draw(root):
        keep_crystals(root, [shown(state.learning, state.combination) for state in states if state.combination])


def _result(state: _State) -> TargetResult:
    found = state.combination
    assert found is not None  # noqa: S101 - written above
    coverage = float("nan") if found.calibration is None else found.calibration.coverage
    return TargetResult(
        found.error, found.members[0].error, {m.member.name: m.error for m in found.members},
        {m.member.name: float(w) for m, w in zip(found.members, found.weights, strict=True)}, coverage, state.failed,
        state.curve, None if state.plain is None else state.plain.path,
    )  # fmt: skip
