"""Conditioned denoising: predict where displaced atoms were, given a vector of the crystal at rest."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import ClassVar, Literal

import torch
from torch import nn

from matgl_ssl.arguments import Positive, Share
from matgl_ssl.backends import NORMAL, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.renamed import LossName
from matgl_ssl.views import Compose, DisplaceAtoms, DrawNormal

from .direct_denoising import DirectDenoising
from .edge_head import Modulation
from .heads import perceptron
from .pretext import PretextOutput


class ConditionedDenoising(DirectDenoising):
    """Self-conditioned denoising (Perez, Gómez-Bombarelli, arXiv 2603.17196; TyJPerez/SelfConditionedDenoisingAtoms).

    The encoder sees two copies of a crystal. The noise of the one is predicted as in ``direct-denoising``. The other is
    at rest but for a little noise, and the mean of its atoms' last vectors tells the head what to expect: a network of
    it scales and shifts the head's hidden layer for all edges of the crystal. In a share of the crystals, a learned
    vector stands for that mean while training, so that the noise must be predicted without it.

    A vector of a whole crystal cannot say where each atom was. It can say what the crystal is like at rest, and it is
    trained to: no label, and no energy, is asked for.

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the noise in Å.
        rest_sigma: That of the copy at rest.
        drop: Share of the crystals that are denoised without the copy at rest.
        loss: ``"mse"`` as published, ``"mae"`` or ``"huber"``.
        sign: ``"restoring"``, towards the crystal at rest, or ``"published"``, the noise itself.
        scale: Divide the target by nothing, by sigma (as published) or by sigma².
        remove_com: Take the mean displacement of each crystal out of the target.
        topology: Build the graph after displacing (``"rebuild"``, as published) or keep the edges at rest.
    """

    summary: ClassVar[str] = "predict displacements, given a vector of the crystal at rest (SCD)"

    def __init__(
        self,
        encoder: Encoder,
        *,
        sigma: float = 0.04,
        rest_sigma: Positive = 0.005,
        drop: Share = 0.2,
        loss: LossName = "mse",
        sign: Literal["restoring", "published"] = "restoring",
        scale: Literal["none", "sigma", "sigma2"] = "sigma",
        remove_com: bool = True,
        topology: Literal["rebuild", "clean"] = "rebuild",
    ) -> None:
        super().__init__(
            encoder, sigma=sigma, loss=loss, sign=sign, scale=scale, remove_com=remove_com, topology=topology
        )
        at_rest = Compose(views=(DisplaceAtoms(sigma=rest_sigma), DrawNormal(per_crystal=1)))
        self.views = {**self.views, "at rest": at_rest}
        self.dropped_below = NormalDist().inv_cdf(drop)
        width = encoder.node_dim
        self.nothing = nn.Parameter(torch.zeros(width))
        self.condition = nn.Sequential(nn.LayerNorm(width), perceptron(width, width, 2 * width, activation=nn.SiLU))

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Compare prediction and noise; ``baseline`` is the loss of predicting zero."""
        modulation = self.modulation(features["at rest"], batch["at rest"])
        predicted = self.predict(features["displaced"], batch["displaced"], modulation)
        return self.compared(predicted, batch["displaced"])

    def modulation(self, features: Features, crystals: CrystalBatch) -> Modulation:
        """Factor and summand of each crystal."""
        vectors = crystals.mean_over_atoms(features.node[-1])
        if self.training:
            dropped = crystals.labels[NORMAL] < self.dropped_below
            vectors = torch.where(dropped, self.nothing, vectors)
        factor, summand = self.condition(vectors).chunk(2, dim=1)
        return factor, summand
