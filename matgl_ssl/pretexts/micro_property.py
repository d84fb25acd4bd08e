"""Micro-property: tell a masked atom's stiffness or valence electrons from what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import MASK, Encoder, Features
from matgl_ssl.errors import ConfigError
from matgl_ssl.losses import global_mean
from matgl_ssl.views import Distances, Resample, masked

from .element_tables import N_VALENCE, atomic_stiffness, valence_electrons
from .pretext import Pretext, PretextOutput


class MicroProperty(Pretext):
    """Predict a property of masked atoms from the last depth's atom vectors, by a linear head.

    DSSL's physics-guided half (arXiv 2401.05223; usccolumbia/DSSL). ``table="atomic-stiffness"``: the element's entry
    in eV, unscaled, mean absolute error. ``table="valence-electrons"``: 17 classes, cross entropy. Both are functions
    of the element alone.

    Args:
        encoder: The encoder to be trained.
        table: What to predict.
        missing: ``"ignore"`` leaves out masked atoms whose element has no entry; ``"zero"`` fits 0 to them, as
            published.
        fraction: Share of the atoms to mask; ``int(fraction * N + 1)`` of them.
        distances: Whether the lengths of the edges that touch masked atoms are ``"visible"`` or ``"hidden"``.
        resample: Draw the masks anew each ``"epoch"``, or ``"never"``: once before training, as published.
    """

    summary: ClassVar[str] = "predict a physical property (atomic stiffness, valence electrons) of hidden atoms"

    def __init__(
        self,
        encoder: Encoder,
        *,
        table: Literal["atomic-stiffness", "valence-electrons"] = "atomic-stiffness",
        missing: Literal["ignore", "zero"] = "ignore",
        fraction: float = 0.15,
        distances: Distances = "visible",
        resample: Resample = "epoch",
    ) -> None:
        super().__init__(encoder)
        if missing not in ("ignore", "zero"):
            raise ConfigError(f"missing must be 'ignore' or 'zero', not {missing!r}.")
        values: list[float | None]
        if table == "atomic-stiffness":
            values, size = [atomic_stiffness(s) for s in encoder.element_types], 1
        elif table == "valence-electrons":
            values, size = [valence_electrons(s) - 1 for s in encoder.element_types], N_VALENCE
        else:
            raise ConfigError(f"table must be 'atomic-stiffness' or 'valence-electrons', not {table!r}.")
        self.views = {"masked": masked(fraction, distances=distances, resample=resample)}
        self.head = nn.Linear(encoder.node_dim, size)
        self.table = table
        self.missing = missing
        self.register_buffer("values", torch.tensor([torch.nan if v is None else v for v in values]), persistent=False)
        self.values: Tensor

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Mean over the masked atoms of the batch that count."""
        mask = batch["masked"].atom[MASK]
        predicted = self.head(features["masked"].node[-1][mask])
        target = self.values[batch["masked"].node_type[mask]]
        counts = target.isfinite() | (self.missing == "zero")
        target = target.nan_to_num(0.0)
        if self.table == "atomic-stiffness":
            return PretextOutput(global_mean((predicted[:, 0] - target).abs(), counts))
        loss = global_mean(functional.cross_entropy(predicted, target.long(), reduction="none"), counts)
        right = (predicted.detach().argmax(1) == target).to(loss.dtype)
        return PretextOutput(loss, {"accuracy": global_mean(right, counts)})
