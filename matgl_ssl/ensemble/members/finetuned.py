"""Encoders that are fine-tuned on the labels, by the path of ``finetune`` without a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from matgl_ssl._backend import BACKEND, MATGL_VERSION
from matgl_ssl.acceleration import decelerate
from matgl_ssl.ensemble.encoders import PretrainedEncoder
from matgl_ssl.ensemble.inputs import Inputs
from matgl_ssl.errors import DataError, NonFiniteError
from matgl_ssl.hub import load_model, save_model
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.pool import TARGET, fine_tune, predict_rows
from matgl_ssl.training.provenance import public_name

from .member import Fitted, Lesson, Member

MODEL = "model"
_FEW = 300
"""Labels below which the encoder is to stay near what it was."""


@dataclass(frozen=True)
class FineTuned(Member):
    """One encoder, fine-tuned. For two classes it learns the probability of the second one.

    Attributes:
        encoder: The encoder's name.
        weights: Hash of the encoder.
        options: Options of ``finetune`` that win over those chosen here.
        start: The encoder's directory.
        accelerator: Where it is fine-tuned.
    """

    kind: ClassVar[str] = "fine-tuned"
    bagged: ClassVar[bool] = True

    encoder: str = ""
    weights: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    start: str = field(default="", repr=False, compare=False)
    accelerator: str = field(default="auto", repr=False, compare=False)

    @classmethod
    def of(cls, encoder: PretrainedEncoder, options: Mapping[str, Any], accelerator: str) -> FineTuned:
        """The member for an encoder."""
        return cls(
            f"{encoder.name}, fine-tuned", encoder.name, encoder.weights, options, str(encoder.path), accelerator
        )

    def depends_on(self) -> dict[str, Any]:
        """The library of graphs."""
        return {"backend": BACKEND, "matgl": MATGL_VERSION}

    def settings(self, n_labels: int, seed: int, *, squares: bool = False) -> FinetuneConfig:
        """How it is fine-tuned on so many labels.

        With few of them the lower layers stay near what pretraining made of them. Large tables are passed less often.
        """
        chosen = {
            "lr": 3e-3, "layer_decay": 0.3 if n_labels < _FEW else 0.7, "loss": "mse" if squares else "mae",
            "epochs": int(np.clip(150 * _FEW / max(n_labels, 1), 40, 150)),
        }  # fmt: skip
        fixed = {"target": TARGET, "init_from": self.start, "seed": seed, "accelerator": self.accelerator}
        return FinetuneConfig.build(chosen, dict(self.options), fixed)

    def fit(self, lesson: Lesson) -> Fitted:
        """Fine-tune on the crystals that the encoder can be given."""
        if lesson.n_classes > 2:
            raise DataError(f"{self.name}: a network learns two classes, not {lesson.n_classes}.")
        config = self.settings(len(lesson.labels), lesson.seed, squares=bool(lesson.n_classes))
        pool = lesson.inputs.pool(self.encoder)
        model = fine_tune(pool, lesson.inputs.rows, config, labels=lesson.labels, weights=lesson.weights)
        if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
            raise NonFiniteError(f"{self.name}: training diverged at a learning rate of {config.lr:g}.")
        return FittedNetwork(self, model, lesson.n_classes)

    def load(self, folder: Path, n_classes: int) -> Fitted:
        """Load a plain MatGL model."""
        return FittedNetwork(self, load_model(folder / MODEL), n_classes)


@dataclass(frozen=True, eq=False)
class FittedNetwork(Fitted):
    """A fine-tuned network.

    Attributes:
        member: What it was.
        model: A plain MatGL model.
        n_classes: Number of classes; 0 for a number.
    """

    member: FineTuned
    model: nn.Module
    n_classes: int = 0

    def predict(self, inputs: Inputs) -> np.ndarray:
        """See ``Fitted``."""
        pool = inputs.pool(self.member.encoder)
        usable = pool.usable(inputs.rows)
        found = np.full(len(inputs), np.nan)
        config = FinetuneConfig.build({"target": TARGET})
        found[np.isin(inputs.rows, usable)] = predict_rows(self.model, pool, usable, config)
        if not self.n_classes:
            return found[:, None, None]
        second = np.clip(found, 0, 1)
        return np.stack([1 - second, second], 1)[:, None]

    def save(self, folder: Path) -> None:
        """Write a plain MatGL model, stamped."""
        save_model(
            decelerate(self.model), folder / MODEL, kind="model", readout="trained",
            target={"name": "the transformed label of a fit", "unit": None, "transform": None, "extensive": False},
            init_from=public_name(self.member.start),
        )  # fmt: skip
