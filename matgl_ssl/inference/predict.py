"""Predict a property of crystals, in its physical unit."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from matgl_ssl.acceleration import Mode, use, using
from matgl_ssl.backends import Potential, collate
from matgl_ssl.boundary import verb
from matgl_ssl.crystals import Crystal, check_dataset, read_crystals
from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.devices import inference_device
from matgl_ssl.encoders import Encoder
from matgl_ssl.encoders.state import check_batch_size, state_labels
from matgl_ssl.errors import ModelError, NonFiniteError
from matgl_ssl.hub import evaluating, load_with_stamp, model_output
from matgl_ssl.hub.elements import untrained_elements
from matgl_ssl.hub.stamp import OUTPUT, VECTOR
from matgl_ssl.progress import track
from matgl_ssl.renamed import renamed_keywords

logger = logging.getLogger(__name__)

NO_UNIT = "(no unit given)"


@dataclass(frozen=True)
class Prediction:
    """What a model says of a crystal.

    Attributes:
        id: Name of the crystal.
        name: What was predicted.
        value: The value, in ``unit``; a target that was trained on its logarithm is given itself, not its logarithm.
            NaN where nothing could be predicted.
        unit: The unit, or ``"(no unit given)"``.
        note: Why nothing could be predicted, or why the value is not to be trusted; mostly empty.
    """

    id: str
    name: str
    value: float
    unit: str
    note: str = ""

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return f"{self.id}  not predicted  ({self.note})"
        return f"{self.id}  {self.name} = {self.value:.8g}  {self.unit}{f'  ({self.note})' if self.note else ''}"


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
        model: A MatGL model (its output is given as it comes, without unit), a model directory, a run directory, or a
            hub name. An instance is not changed.
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``).
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        state_attr: The state label (a fidelity, for example) of all crystals or of each one given, for models that
            take one.
        batch_size: Largest number of crystals in a batch; batches with unusually large crystals are smaller.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps`` (see ``matgl_ssl.devices``). An instance stays
            where it lies.
        devices: ``1``, or the name of a device (``"cuda:1"``).
        acceleration: ``"native"``, ``"torch"`` or ``"off"`` (see ``accelerate``).

    Returns:
        One prediction for each crystal that was given, in order: NaN, with a note that says why, for those that cannot
        be read or that the model cannot be trusted with.

    Raises:
        NothingLeftError: If that is all of them.
        ConfigError: If there is no such device, or an option has a wrong value.
        ModelError: If the model has no trained readout, cannot be loaded, or needs another ``state_attr``.
        BackendError: If it belongs to the other graph library.
        DataError: If there is nothing to read.
        NonFiniteError: If no prediction is a finite number.
    """
    check_batch_size(batch_size)
    use(acceleration)
    device = inference_device(model, accelerator, devices)
    loaded, stamp = load_with_stamp(model, trained_with=trained_with, device=device)
    if stamp.get("readout") in ("untrained", VECTOR, OUTPUT):
        raise ModelError(
            f"The readout of {model} is untrained (an encoder's is random), so its output means nothing. "
            f"Fine-tune it first (mgl-ssl finetune --init-from {model} --data ... --target ...), or use mgl-ssl embed."
        )
    name, unit, transform = _meaning(loaded, stamp)
    encoder = Encoder(loaded)
    crystals, report = check_dataset(
        read_crystals(data, columns=[]), element_types=encoder.element_types, cutoff=encoder.cutoff
    )
    report.tell("the predictions' notes")
    bad = {finding.index: finding for finding in reversed(report.findings)}
    state = state_labels(encoder.model, state_attr, report.n_total)
    if state is not None:
        state = state[[place for place in range(report.n_total) if place not in bad]]
    build = encoder.graph_builder()
    predictions: list[Prediction] = []
    with evaluating(loaded):
        batches = consecutive_batches(crystals, batch_size, encoder.cutoff)
        for batch in track(batches, "predicting", len(crystals), len):
            rows = crystals.rows(batch)
            part = None if state is None else state[batch.start : batch.stop]
            values = model_output(loaded, collate([build(crystal) for crystal in rows]), part).cpu().double()
            if transform == "log10":
                values = 10**values
            predictions += [
                Prediction(crystal.id, name, value, unit, _note(crystal, value, stamp))
                for crystal, value in zip(rows, values.tolist(), strict=True)
            ]
    if not any(math.isfinite(prediction.value) for prediction in predictions):
        raise NonFiniteError(f"{model} predicts no finite number for any crystal: its weights are damaged or diverged.")
    if noted := [prediction for prediction in predictions if prediction.note]:
        logger.warning("%d predictions have a note, as %s: %s.", len(noted), noted[0].id, noted[0].note)
    good = iter(predictions)
    return [
        Prediction(bad[place].id, name, math.nan, unit, bad[place].message) if place in bad else next(good)
        for place in range(report.n_total)
    ]


def _note(crystal: Crystal, value: float, stamp: Mapping[str, Any]) -> str:
    """Why a prediction is not to be trusted."""
    if not math.isfinite(value):
        return "the model's output is not a finite number"
    others = untrained_elements(stamp, crystal.numbers)
    return f"not to be trusted: the model was never trained on {', '.join(others)}" if others else ""


def _meaning(model: nn.Module, stamp: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Name, unit and transform of a model's output."""
    if target := stamp.get("target"):
        transform = target.get("transform")
        if transform not in (None, "log10"):
            raise ModelError(
                f"The model's target was transformed by {transform!r}, which this matgl_ssl cannot invert."
            )
        return str(target["name"]), str(target.get("unit") or NO_UNIT), transform
    if isinstance(model, Potential):
        return "energy", str(stamp.get("unit") or "eV"), None
    return "prediction", str(stamp.get("unit") or NO_UNIT), None
