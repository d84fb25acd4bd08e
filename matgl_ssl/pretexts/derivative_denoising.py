"""Derivative denoising: learn an energy whose forces point back to where the atoms were."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features

from .denoising import Denoising
from .pretext import TrainedOutput


class DerivativeDenoising(Denoising):
    """Fit -dE/dx at displaced positions to the displacement (Jia et al., Digital Discovery 2024, 3, 586).

    The loss is the mean over components of ``|-dE/dx - target|`` with ``target = -noise / sigma**p``. The released
    code (Fung-Lab/MatDeepLearn_dev, ``pretraining_with_forces``) fits ``+noise`` instead, so that its "forces" push
    atoms further away: ``sign="published"``. An intensive model (MEGNet) is differentiated times its number of atoms.

    An energy's gradients sum to zero over a crystal, which independent noise does not: 1/N of its variance is out of
    reach. ``remove_com`` takes that part out of the target (the paper leaves it in).

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the noise in Å.
        loss: ``"mae"`` as published, ``"mse"`` or ``"huber"``.
        sign: ``"restoring"``, towards the crystal at rest, or ``"published"``.
        scale: Divide the target by nothing, by sigma or by sigma² (the Gaussian score).
        remove_com: Take the mean displacement of each crystal out of the target.
        topology: Build the graph after displacing (``"rebuild"``, as published) or keep the edges at rest
            (``"clean"``).
    """

    summary: ClassVar[str] = "an energy whose forces point displaced atoms back (-dE/dx against the noise)"
    trains_output: ClassVar[bool] = True

    def set_up(self, encoder: Encoder) -> None:
        """Nothing but the output's derivative."""
        self.forces = frozenset({"displaced"})

    def trained_output(self) -> TrainedOutput:
        """No physical energy."""
        return TrainedOutput("denoising", "arbitrary, not eV: trained to restore displaced atoms")

    def predict(self, features: Features, crystals: CrystalBatch) -> Tensor:
        """The forces."""
        assert features.forces is not None  # noqa: S101 - promised by ``self.forces``
        return features.forces
