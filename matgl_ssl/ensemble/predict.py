"""``predict``: with what ``fit`` left, or with a single model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from matgl_ssl import inference
from matgl_ssl.acceleration import Mode, use, using
from matgl_ssl.boundary import verb
from matgl_ssl.crystals import CheckReport, CrystalDataset, check_dataset, read_crystals
from matgl_ssl.errors import ModelError
from matgl_ssl.inference import Prediction
from matgl_ssl.inference.predict import NO_UNIT
from matgl_ssl.renamed import renamed_keywords

from .inputs import Inputs
from .predictor import MANIFEST, Predictor, Said, TargetPredictor, is_fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IntervalPrediction(Prediction):
    """What a fit says of a crystal, and how sure it is.

    Attributes:
        lower: Lower end of the interval.
        upper: Upper end of the interval.
        std: Standard deviation of the error that is to be expected.
        confidence: Share of crystals like the labelled ones whose value lies in their interval.
        flag: Why the crystal is unlike the labelled ones; mostly empty.
    """

    lower: float = math.nan
    upper: float = math.nan
    std: float = math.nan
    confidence: float = 0.9
    flag: str = ""

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return super().__str__()
        half = (self.upper - self.lower) / 2
        digits = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 4
        unit = "" if self.unit == NO_UNIT else f" {self.unit}"
        symmetric = abs(self.upper + self.lower - 2 * self.value) <= 1e-6 * half
        how = f"± {half:.{digits}f}" if symmetric else f"from {self.lower:.{digits}f} to {self.upper:.{digits}f}"
        flag = f"  ({self.flag})" if self.flag else ""
        return f"{self.id}  {self.name} = {self.value:.{digits}f}{unit} {how} ({self.confidence:.0%}){flag}"


@dataclass(frozen=True)
class ClassPrediction(Prediction):
    """Which class a crystal is of.

    Attributes:
        value: Probability of the likeliest class.
        label: The likeliest class.
        probabilities: Of all classes.
        flag: Why the crystal is unlike the labelled ones; mostly empty.
    """

    label: str = ""
    probabilities: tuple[tuple[str, float], ...] = ()
    flag: str = ""

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return super().__str__()
        flag = f"  ({self.flag})" if self.flag else ""
        return f"{self.id}  {self.name} = {self.label}, probability {self.value:.2f}{flag}"


@verb
@renamed_keywords(structures="data")
@using
def predict(
    *,
    model: str | Path | nn.Module,
    data: Any,
    trained_with: str | None = None,
    state_attr: int | Sequence[int] | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    devices: int | str = 1,
    acceleration: Mode | None = None,
) -> list[Prediction]:
    """Predict a property of crystals.

    Args:
        model: A directory that ``fit`` left; or a MatGL model (its output is given as it comes, without unit), a model
            directory, a run directory, or a hub name. An instance is not changed.
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``).
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        state_attr: The state label (a fidelity, for example) of all crystals or of each one given, for models that
            take one.
        batch_size: Largest number of crystals in a batch; batches with unusually large crystals are smaller.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps`` (see ``matgl_ssl.devices``). An instance stays
            where it lies. What ``fit`` left runs on the CPU.
        devices: ``1``, or the name of a device (``"cuda:1"``).
        acceleration: ``"native"``, ``"torch"`` or ``"off"`` (see ``accelerate``).

    Returns:
        One prediction for each crystal that was given, in order: NaN, with a note that says why, for those that cannot
        be read or that the model cannot be trusted with. With a fit it is an ``IntervalPrediction`` or a
        ``ClassPrediction``; of several targets the predictions of one stand behind those of the other.

    Raises:
        NothingLeftError: If that is all of them.
        ConfigError: If there is no such device, or an option has a wrong value.
        ModelError: If the model has no trained readout, cannot be loaded, needs another ``state_attr``, or was changed
            after it was written.
        BackendError: If it belongs to the other graph library.
        DataError: If there is nothing to read.
        NonFiniteError: If no prediction is a finite number.
    """
    if not is_fit(model):
        return inference.predict(
            model=model, data=data, trained_with=trained_with, state_attr=state_attr, batch_size=batch_size,
            accelerator=accelerator, devices=devices, acceleration=acceleration,
        )  # fmt: skip
    use(acceleration)
    predictor = load_predictor(Path(model))  # type: ignore[arg-type]
    crystals, found = check_dataset(read_crystals(data, columns=[]))
    found.tell("the predictions' notes")
    inputs = predictor.inputs(crystals)
    return [row for target in predictor.targets for row in _rows(target, target(inputs), crystals, found)]


def with_inputs(model: str | Path, data: Any) -> tuple[Predictor, CrystalDataset, Inputs]:
    """What ``fit`` left, and those of some crystals that can be trusted, as their dataset and as learners see them.

    Raises:
        ModelError: If ``model`` is no directory of a fit.
    """
    if not is_fit(model):
        raise ModelError(
            f"{model} is not a directory that mgl-ssl fit wrote. Run mgl-ssl fit first, or give its --out here."
        )
    predictor = load_predictor(Path(model))
    crystals, report = check_dataset(read_crystals(data, columns=[]))
    report.tell("no file")
    return predictor, crystals, predictor.inputs(crystals)


def load_predictor(root: Path) -> Predictor:
    """What ``fit`` left, loaded once as long as its manifest stays what it is.

    Raises:
        ModelError: If a file of it was changed, is missing, or is of a later version.
    """
    return _loaded(root.resolve(), (root / MANIFEST).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _loaded(root: Path, written: int) -> Predictor:
    return Predictor.load(root)


def _rows(target: TargetPredictor, said: Said, crystals: CrystalDataset, report: CheckReport) -> list[Prediction]:
    """A prediction for each crystal that was given, in order."""
    bad = {finding.index: finding for finding in reversed(report.findings)}
    unit = target.unit or NO_UNIT
    good = iter(rows_of(target, said, crystals, range(len(crystals))))
    return [
        Prediction(bad[place].id, target.name, math.nan, unit, bad[place].message) if place in bad else next(good)
        for place in range(report.n_total)
    ]


def rows_of(
    target: TargetPredictor, said: Said, crystals: CrystalDataset, rows: Sequence[int]
) -> list[IntervalPrediction | ClassPrediction]:
    """Predictions of crystals, each of which is a row of the output."""
    return [_row(target, said, row, crystal_id) for row, crystal_id in zip(rows, crystals.ids, strict=True)]


def _row(target: TargetPredictor, said: Said, i: int, crystal_id: str) -> IntervalPrediction | ClassPrediction:
    flag = said.flags[i]
    if target.classes:
        chances = said.values[i]
        best = int(np.argmax(chances))
        probabilities = tuple(zip(target.classes, map(float, chances), strict=True))
        return ClassPrediction(
            crystal_id, target.name, float(chances[best]), "probability", "", target.classes[best], probabilities, flag
        )
    value = float(said.values[i])
    note = "" if math.isfinite(value) else "no learner can be given this crystal"
    return IntervalPrediction(
        crystal_id, target.name, value, target.unit or NO_UNIT, note, float(said.lower[i]), float(said.upper[i]),
        float(said.std[i]), target.confidence, flag,
    )  # fmt: skip
