"""Micro-property: tell a masked atom's stiffness or valence electrons from what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import MASK, CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.losses import global_mean
from matgl_ssl.targets.environment_stiffness import EnvironmentStiffness
from matgl_ssl.views import Distances, Resample, masked

from .element_tables import N_VALENCE, atomic_stiffness, valence_electrons
from .pretext import Pretext, PretextOutput


class MicroProperty(Pretext):
    """Predict a property of masked atoms from the last layer's atom vectors, by a linear head.

    DSSL's physics-guided half (arXiv 2401.05223; usccolumbia/DSSL). ``table="atomic-stiffness"``: the element's entry
    in eV, unscaled, mean absolute error. ``table="valence-electrons"``: 17 classes, cross entropy. Both are functions
    of the element alone. Beyond the paper, ``table="environment-stiffness"`` is the atom's own mean force constant in
    eV/Å² from a potential (``targets.environment_stiffness``), computed once, standardised over the training crystals,
    mean absolute error.

    Args:
        encoder: The encoder to be trained.
        table: What to predict.
        missing: ``"ignore"`` leaves out masked atoms that have no value; ``"zero"`` fits 0 to them, as published.
        potential: The saved MatGL ``Potential`` that environment stiffness comes from.
        trained_with: ``"pyg"`` or ``"dgl"``, for a potential without a matgl_ssl stamp.
        fraction: Share of the atoms to mask; ``int(fraction * N + 1)`` of them.
        distances: Whether the lengths of the edges that touch masked atoms are ``"visible"`` or ``"hidden"``.
        resample: Draw new masks each ``"epoch"``, or ``"never"``: once before training, as published.
    """

    summary: ClassVar[str] = "predict a physical property (atomic stiffness, valence electrons) of hidden atoms"

    def __init__(
        self,
        encoder: Encoder,
        *,
        table: Literal["atomic-stiffness", "valence-electrons", "environment-stiffness"] = "atomic-stiffness",
        missing: Literal["ignore", "zero"] = "ignore",
        potential: str | None = None,
        trained_with: Literal["pyg", "dgl"] | None = None,
        fraction: float = 0.15,
        distances: Distances = "visible",
        resample: Resample = "epoch",
    ) -> None:
        super().__init__(encoder)
        if (potential is None) == (table == "environment-stiffness"):
            raise ConfigError(
                "table 'environment-stiffness' needs a potential (a saved MatGL Potential); no other does."
            )
        values: list[float | None] = []
        if table == "atomic-stiffness":
            values = [atomic_stiffness(s) for s in encoder.element_types]
        elif table == "valence-electrons":
            values = [valence_electrons(s) - 1 for s in encoder.element_types]
        elif potential is not None:
            self.targets = (EnvironmentStiffness(potential, trained_with),)
        self.views = {"masked": masked(fraction, distances=distances, resample=resample)}
        self.classify = table == "valence-electrons"
        self.head = nn.Linear(encoder.node_dim, N_VALENCE if self.classify else 1)
        self.missing = missing
        self.register_buffer("values", torch.tensor([torch.nan if v is None else v for v in values]), persistent=False)
        self.values: Tensor
        self.register_buffer("mean_and_scale", torch.tensor([0.0, 1.0]))
        self.mean_and_scale: Tensor

    def prepare(self, crystals: CrystalDataset) -> None:
        """Standardise environment stiffness; the tables stay in their units, as published."""
        for target in self.targets:
            values = np.concatenate([np.ravel(v) for v in crystals.column(target.column)])
            if not np.isfinite(values).any():
                raise DataError(
                    f"{target.name} is not known for any atom: the potential must know every element of a crystal."
                )
            self.mean_and_scale.copy_(torch.tensor([np.nanmean(values), max(np.nanstd(values), 1e-9)]))

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Mean over the masked atoms of the batch that count."""
        crystals = batch["masked"]
        mask = crystals.atom[MASK]
        predicted = self.head(features["masked"].node[-1][mask])
        if self.targets:
            target = crystals.atom[self.targets[0].column][mask, 0].to(predicted)
        else:
            target = self.values[crystals.node_type[mask]]
        counts = target.isfinite() | (self.missing == "zero")
        target = target.nan_to_num(0.0)
        if not self.classify:
            mean, scale = self.mean_and_scale
            return PretextOutput(global_mean((predicted[:, 0] - (target - mean) / scale).abs(), counts))
        loss = global_mean(functional.cross_entropy(predicted, target.long(), reduction="none"), counts)
        right = (predicted.detach().argmax(1) == target).to(loss.dtype)
        return PretextOutput(loss, {"accuracy": global_mean(right, counts)})
