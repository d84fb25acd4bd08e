"""Crystal targets: tell what a whole crystal is like, in numbers that the structure determines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.targets import (
    CRYSTAL_SYSTEMS,
    N_SPACE_GROUPS,
    CompositionStatistics,
    Density,
    EwaldEnergy,
    PowderPattern,
    SpaceGroup,
    Target,
)

from .structure_targets import StructureTargets, ViewName
from .target_heads import ClassHead, LossName, RegressionHead

EVERY = ["density", "composition", "powder-pattern", "ewald-energy", "crystal-system", "space-group"]


def space_group_class(number: Tensor) -> Tensor:
    """Class of a space group's number, from 0."""
    return number.long() - 1


def crystal_system_class(number: Tensor) -> Tensor:
    """Class of the crystal system of a space group's number: triclinic 0 to cubic 6."""
    return torch.bucketize(
        number, torch.tensor(list(CRYSTAL_SYSTEMS.values()), device=number.device, dtype=number.dtype)
    )


class CrystalTargets(StructureTargets):
    """Predict a crystal's descriptors from the mean of its atoms' vectors at the last depth.

    ``"density"``: density, volume per atom, packing fraction. ``"composition"``: mean, range and deviation of elemental
    properties. ``"powder-pattern"``: X-ray intensity by angle. ``"ewald-energy"``: electrostatic energy per atom of
    guessed oxidation states, where there are any. ``"crystal-system"`` (7 classes) and ``"space-group"`` (230).

    The mean over atoms is there in every architecture, and all of it stays when fine-tuning starts a fresh readout.

    Args:
        encoder: The encoder to be trained.
        targets: Which of these.
        view: ``"clean"``, ``"masked"`` (one encoding together with ``masked-atoms``: composition, density and charges
            of hidden atoms must then be inferred) or ``"displaced"`` (symmetry and pattern of the crystal at rest).
        loss: ``"l1"``, ``"huber"`` or ``"mse"``, on standardised columns.
        fraction: Share of the atoms that the masked view hides.
        sigma: Standard deviation of the displaced view's noise in Å.
    """

    summary: ClassVar[str] = "predict each crystal's density, composition, symmetry, powder pattern, Ewald energy"
    available: ClassVar[Mapping[str, Target]] = {
        **{t.name: t for t in (Density(), CompositionStatistics(), PowderPattern(), EwaldEnergy(), SpaceGroup())},
        "crystal-system": SpaceGroup(),
    }

    def __init__(
        self,
        encoder: Encoder,
        *,
        targets: list[str] = EVERY,
        view: ViewName = "masked",
        loss: LossName = "l1",
        fraction: float = 0.15,
        sigma: float = 0.1,
    ) -> None:
        super().__init__(encoder, targets=targets, view=view, loss=loss, fraction=fraction, sigma=sigma)

    def head(self, name: str, dim: int, loss: LossName) -> RegressionHead | ClassHead:
        """Classification where the target is a class."""
        if name == "space-group":
            return ClassHead(name, dim, N_SPACE_GROUPS, space_group_class)
        if name == "crystal-system":
            return ClassHead(name, dim, len(CRYSTAL_SYSTEMS), crystal_system_class)
        return super().head(name, dim, loss)

    def vectors(self, features: Features, batch: CrystalBatch) -> Tensor:
        """Mean over atoms."""
        return batch.mean_over_atoms(features.node[-1])

    def values(self, batch: CrystalBatch, target: Target) -> Tensor:
        """One row a crystal."""
        return batch.labels[target.column]
