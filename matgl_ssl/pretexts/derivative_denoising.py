"""Derivative denoising: learn an energy whose forces point back to where the atoms were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import ConfigError
from matgl_ssl.losses import global_mean
from matgl_ssl.views import NOISE, DisplaceAtoms

from .pretext import Pretext, PretextOutput, TrainedOutput

LOSSES: dict[str, Callable[..., Tensor]] = {"l1": functional.l1_loss, "l2": functional.mse_loss}
SCALES = {"none": 0, "sigma": 1, "sigma2": 2}


class DerivativeDenoising(Pretext):
    """Fit -dE/dx at displaced positions to the displacement (Jia et al., Digital Discovery 2024, 3, 586).

    The loss is the mean over components of ``|-dE/dx - target|`` with ``target = -noise / sigma**p``. The released
    code (Fung-Lab/MatDeepLearn_dev, ``pretraining_with_forces``) fits ``+noise`` instead, so that its "forces" push
    atoms further away: ``sign="published"``. An intensive model (MEGNet) is differentiated times its number of atoms.

    An energy's gradients sum to zero over a crystal, which independent noise does not: 1/N of its variance is out of
    reach. ``remove_com`` takes that part out of the target (the paper leaves it in).

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the noise in Å.
        loss: ``"l1"`` as published, or ``"l2"``.
        sign: ``"restoring"``, towards the crystal at rest, or ``"published"``.
        scale: Divide the target by nothing, by sigma or by sigma² (the Gaussian score).
        remove_com: Take the mean displacement of each crystal out of the target.
        topology: Build the graph after displacing (``"rebuild"``, as published) or keep the edges at rest
            (``"clean"``).
    """

    summary: ClassVar[str] = "an energy whose forces point displaced atoms back (-dE/dx against the noise)"
    trains_output: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        sigma: float = 0.1,
        loss: Literal["l1", "l2"] = "l1",
        sign: Literal["restoring", "published"] = "restoring",
        scale: Literal["none", "sigma", "sigma2"] = "none",
        remove_com: bool = True,
        topology: Literal["rebuild", "clean"] = "rebuild",
    ) -> None:
        super().__init__(encoder)
        for name, value, allowed in (
            ("loss", loss, LOSSES),
            ("sign", sign, ("restoring", "published")),
            ("scale", scale, SCALES),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
        self.views = {"displaced": DisplaceAtoms(sigma=sigma, topology=topology)}
        self.forces = frozenset({"displaced"})
        self.loss = LOSSES[loss]
        self.factor = (-1.0 if sign == "restoring" else 1.0) / sigma ** SCALES[scale]
        self.remove_com = remove_com

    def trained_output(self) -> TrainedOutput:
        """No physical energy."""
        return TrainedOutput("denoising", "arbitrary, not eV: trained to restore displaced atoms")

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Compare forces with the noise; ``baseline`` is the loss of predicting no force at all."""
        crystals, forces = batch["displaced"], features["displaced"].forces
        assert forces is not None  # noqa: S101 - promised by ``self.forces``
        noise = crystals.atom[NOISE].to(forces)
        if self.remove_com:
            noise = noise - crystals.mean_over_atoms(noise)[crystals.batch]
        target = self.factor * noise
        loss = global_mean(self.loss(forces, target, reduction="none"))
        return PretextOutput(loss, {"baseline": self.loss(torch.zeros_like(target), target)})
