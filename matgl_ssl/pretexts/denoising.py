"""What pretexts share that fit one vector an atom to the displacement it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from matgl_ssl.backends import NOISE, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.losses import ELEMENTWISE, global_mean
from matgl_ssl.renamed import LossName
from matgl_ssl.views import DisplaceAtoms

from .pretext import Pretext, PretextOutput

SCALES = {"none": 0, "sigma": 1, "sigma2": 2}


class Denoising(Pretext):
    """The mean over components of ``|prediction - target|`` at displaced positions, ``target = -noise / sigma**p``.

    A subclass says how it predicts.

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the noise in Å.
        loss: ``"mae"`` as published, ``"mse"`` or ``"huber"``.
        sign: ``"restoring"``, towards the crystal at rest, or ``"published"``.
        scale: Divide the target by nothing, by sigma or by sigma² (the Gaussian score).
        remove_com: Take the mean displacement of each crystal, which nothing in its graph shows, out of the target.
        topology: Build the graph after displacing (``"rebuild"``, as published) or keep the edges at rest
            (``"clean"``).
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        sigma: float = 0.1,
        loss: LossName = "mae",
        sign: Literal["restoring", "published"] = "restoring",
        scale: Literal["none", "sigma", "sigma2"] = "none",
        remove_com: bool = True,
        topology: Literal["rebuild", "clean"] = "rebuild",
    ) -> None:
        super().__init__(encoder)
        self.views = {"displaced": DisplaceAtoms(sigma=sigma, topology=topology)}
        self.loss = ELEMENTWISE[loss]
        self.factor = (-1.0 if sign == "restoring" else 1.0) / sigma ** SCALES[scale]
        self.remove_com = remove_com
        self.set_up(encoder)

    def set_up(self, encoder: Encoder) -> None:
        """Make what the prediction needs."""

    def predict(self, features: Features, crystals: CrystalBatch) -> Tensor:
        """One vector an atom, ``(N, 3)``."""
        raise NotImplementedError

    def target(self, crystals: CrystalBatch) -> Tensor:
        """What is to be predicted, ``(N, 3)``."""
        noise = crystals.atom[NOISE]
        if self.remove_com:
            noise = noise - crystals.mean_over_atoms(noise)[crystals.batch]
        return self.factor * noise

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Compare prediction and noise; ``baseline`` is the loss of predicting zero."""
        return self.compared(self.predict(features["displaced"], batch["displaced"]), batch["displaced"])

    def compared(self, predicted: Tensor, crystals: CrystalBatch) -> PretextOutput:
        """The loss of a prediction, ``(N, 3)``, and of zero."""
        target = self.target(crystals).to(predicted)
        loss = global_mean(self.loss(predicted, target, reduction="none"))
        baseline = global_mean(self.loss(torch.zeros_like(target), target, reduction="none"))
        return PretextOutput(loss, {"baseline": baseline})
