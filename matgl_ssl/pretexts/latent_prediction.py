"""Latent prediction: tell the vector of a hidden atom, as a slow copy of the encoder sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from matgl_ssl.acceleration import accelerate
from matgl_ssl.arguments import Share
from matgl_ssl.backends import HIDDEN, MASK, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.hub import copy_model
from matgl_ssl.losses import ELEMENTWISE, global_mean, total
from matgl_ssl.renamed import LossName
from matgl_ssl.views import Distances, Resample, masked

from .heads import perceptron
from .pretext import Pretext, PretextOutput

SMALLEST = 1e-6
"""Added to variances, so that a dimension in which all atoms are the same is divided by something."""

Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]


class LatentPrediction(Pretext):
    """Joint-embedding prediction (I-JEPA, arXiv 2301.08243; data2vec, arXiv 2202.03555), on the atoms of a crystal.

    The encoder sees a crystal with some atoms masked. The teacher sees it whole: it is a copy of the encoder whose
    weights are ``momentum * its own + (1 - momentum) * the encoder's`` after each step (Grill et al., arXiv
    2006.07733). A small network predicts, from the encoder's vector of each masked atom at the last layer, the
    teacher's. The teacher gets no gradient, and sees no dropout.

    The teacher's vectors are standardised: each dimension has mean 0 and variance 1 over the atoms of the joint batch,
    as in data2vec for speech. Vectors that draw together therefore do not lower the loss, and a prediction that knows
    nothing costs the same all along (``baseline``).

    The teacher's weights are in the checkpoint, not in what is exported.

    Args:
        encoder: The encoder to be trained.
        fraction: Share of the atoms to mask; ``int(fraction * N + 1)`` of them.
        momentum: Of the teacher, in [0, 1).
        loss: ``"huber"`` (smooth L1, as published), ``"mse"`` or ``"mae"``.
        distances: Whether the encoder sees the lengths of the edges that touch masked atoms; the teacher does.
        resample: Draw new masks each ``"epoch"``, or ``"never"``: once before training.
    """

    summary: ClassVar[str] = "predict the vector that a slow copy of the encoder gives to hidden atoms (JEPA)"

    def __init__(
        self,
        encoder: Encoder,
        *,
        fraction: Share = 0.3,
        momentum: Momentum = 0.996,
        loss: LossName = "huber",
        distances: Distances = "visible",
        resample: Resample = "epoch",
    ) -> None:
        super().__init__(encoder)
        self.views = {"masked": masked(fraction, distances=distances, resample=resample)}
        self.momentum = momentum
        self.loss = ELEMENTWISE[loss]
        self.teacher = Encoder(accelerate(copy_model(encoder.model)), encoder.state)
        self.teacher.mask_token.data.copy_(encoder.mask_token)
        self.teacher.requires_grad_(False).eval()
        self.predictor = perceptron(encoder.node_dim, 2 * encoder.node_dim, encoder.node_dim, activation=nn.SiLU)

    def train(self, mode: bool = True) -> Self:
        """Train the predictor; the teacher's dropout stays off."""
        super().train(mode)
        self.teacher.eval()
        return self

    def after_step(self, encoder: Encoder) -> None:
        """Let the teacher follow."""
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), encoder.parameters(), strict=True):
                slow.lerp_(fast.to(slow), 1 - self.momentum)

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Compare predictions with the teacher's vectors of the masked atoms; ``baseline`` is the loss of the mean."""
        crystals = batch["masked"]
        mask = crystals.atom[MASK]
        with torch.no_grad():
            target = standardised(self.teacher(_whole(crystals)).node[-1])[mask]
        predicted = self.predictor(features["masked"].node[-1][mask])
        loss = global_mean(self.loss(predicted, target.to(predicted), reduction="none"))
        baseline = global_mean(self.loss(torch.zeros_like(target), target, reduction="none"))
        return PretextOutput(loss, {"baseline": baseline})


def standardised(vectors: Tensor) -> Tensor:
    """Vectors ``(n, d)`` with mean 0 and variance 1 in each dimension, over the rows of all processes."""
    n = total(vectors.new_full((), len(vectors)))
    centred = vectors - total(vectors.sum(0)) / n
    return centred / (total(centred.square().sum(0)) / n + SMALLEST).sqrt()


def _whole(crystals: CrystalBatch) -> CrystalBatch:
    """The batch with nothing hidden."""
    atom = {k: v for k, v in crystals.atom.items() if k != MASK}
    return dataclasses.replace(crystals, atom=atom, edge={k: v for k, v in crystals.edge.items() if k != HIDDEN})
