"""Predict a property of crystals, in its physical unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from matgl_ssl.backends import Potential, collate
from matgl_ssl.crystals import check_dataset, read_crystals
from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import evaluating, load_with_stamp, model_output
from matgl_ssl.hub.stamp import VECTOR
from matgl_ssl.renamed import renamed_keywords

NO_UNIT = "(no unit given)"


@dataclass(frozen=True)
class Prediction:
    """What a model says of a crystal. As text, the unit comes last.

    Attributes:
        id: Name of the crystal.
        name: What was predicted.
        value: The value, in ``unit``; a target that was trained on its logarithm is given itself, not its logarithm.
        unit: The unit, or ``"(no unit given)"``.
    """

    id: str
    name: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.id}  {self.name} = {self.value:.6g}  {self.unit}"


@renamed_keywords(structures="data")
def predict(
    *,
    model: str | Path | nn.Module,
    data: Any,
    trained_with: str | None = None,
    state_attr: int | Sequence[int] | None = None,
    batch_size: int = 64,
) -> list[Prediction]:
    """Predict a property of crystals.

    Args:
        model: A MatGL model (its output is given as it comes, without unit), a model directory, a run directory, or a
            hub name. An instance is not changed.
        data: Crystals: pymatgen structures, ASE atoms, a path (see ``read_crystals``).
        trained_with: ``"pyg"`` or ``"dgl"``, for a model without a matgl_ssl stamp.
        state_attr: The state label (a fidelity, for example) of all crystals or of each, for models that take one.
        batch_size: Crystals in a batch at most; uncommonly large ones come in smaller batches.

    Returns:
        One prediction a crystal, in order.

    Raises:
        BadStructureError: For the first crystal that the model cannot be trusted with.
        ModelError: If the model has no trained readout, cannot be loaded, or needs another ``state_attr``.
        BackendError: If it belongs to the other graph library.
        DataError: If there is nothing to read.
    """
    check_batch_size(batch_size)
    loaded, stamp = load_with_stamp(model, trained_with=trained_with)
    if stamp.get("readout") in ("untrained", VECTOR):
        raise ModelError(
            f"The readout of {model} is untrained (an encoder's is random), so its output means nothing. "
            f"Fine-tune it first (mgl-ssl finetune --init-from {model} --data ... --target ...), or use mgl-ssl embed."
        )
    name, unit, transform = _meaning(loaded, stamp)
    encoder = Encoder(loaded)
    crystals, _ = check_dataset(
        read_crystals(data, columns=[], policy="raise"),
        element_types=encoder.element_types, cutoff=encoder.cutoff, policy="raise",
    )  # fmt: skip
    state = state_labels(encoder.model, state_attr, len(crystals))
    build = encoder.graph_builder()
    predictions: list[Prediction] = []
    with evaluating(loaded):
        for batch in consecutive_batches(crystals, batch_size, encoder.cutoff):
            rows = crystals.rows(batch)
            part = None if state is None else state[batch.start : batch.stop]
            values = model_output(loaded, collate([build(crystal) for crystal in rows]), part).double()
            if transform == "log10":
                values = 10**values
            predictions += [
                Prediction(crystal.id, name, value, unit) for crystal, value in zip(rows, values.tolist(), strict=True)
            ]
    return predictions


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


def check_batch_size(batch_size: int) -> None:
    """Refuse batches of nothing.

    Raises:
        ConfigError: If it is less than 1.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size (batch_size=) must be at least 1, not {batch_size}.")


def state_labels(model: Any, state_attr: int | Sequence[int] | None, n: int) -> Tensor | None:
    """State labels of ``n`` crystals, shape ``(n,)`` int64; None for a bare model that takes none.

    Raises:
        ModelError: If they are missing, not wanted, out of range, or not one for all or one each.
    """
    n_states = getattr(model.embedding, "ntypes_state", None)
    if not n_states:
        if state_attr is not None:
            raise ModelError("This model takes no state label: leave out --state-attr (state_attr=).")
        return None
    valid = f"--state-attr (state_attr=) takes one of 0 to {n_states - 1}, for all crystals or for each"
    if state_attr is None:
        raise ModelError(f"This model was trained with a state label (a fidelity, for example); say which: {valid}.")
    given = [state_attr] if isinstance(state_attr, Integral) else list(cast("Sequence[int]", state_attr))
    labels = [int(label) if isinstance(label, Integral) else label for label in given]  # numpy's numbers, too
    wrong = [label for label in labels if not (isinstance(label, int) and 0 <= label < n_states)]
    if wrong:
        raise ModelError(f"There is no state {wrong[0]!r}: {valid}.")
    if len(labels) not in (1, n):
        raise ModelError(f"{len(labels)} state labels for {n} crystals: {valid}.")
    return torch.tensor(labels * n if len(labels) == 1 else labels)
