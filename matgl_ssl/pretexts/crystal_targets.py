"""Crystal targets: tell what a whole crystal is like, in numbers that the structure determines."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from matgl_ssl import registry
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.renamed import LossName
from matgl_ssl.targets import CRYSTAL_SYSTEMS, N_SPACE_GROUPS, Target

from .structure_targets import StructureTargets, ViewName
from .target_heads import ClassHead, RegressionHead

EVERY: list[registry.Spec] = [
    "density",
    "composition",
    "powder-pattern",
    "ewald-energy",
    "crystal-system",
    "space-group",
]


def space_group_class(number: Tensor) -> Tensor:
    """Class of a space group's number, from 0."""
    return number.long() - 1


def crystal_system_class(number: Tensor) -> Tensor:
    """Class of the crystal system of a space group's number: triclinic 0 to cubic 6."""
    return torch.bucketize(
        number, torch.tensor(list(CRYSTAL_SYSTEMS.values()), device=number.device, dtype=number.dtype)
    )


class CrystalTargets(StructureTargets):
    """Predict a crystal's descriptors from one vector a crystal.

    ``"density"``: density, volume per atom, packing fraction. ``"composition"``: mean, range and deviation of elemental
    properties. ``"powder-pattern"``: X-ray intensity by angle. ``"ewald-energy"``: electrostatic energy per atom of
    guessed oxidation states, where there are any. ``"crystal-bonds"``: ionicity, charges, lengths and energy of
    formation by Pauling's rules. ``"crystal-vibrations"``: frequencies, heat capacities, bulk modulus by Gordy's rule.
    ``"elasticity"``: moduli and anisotropy of the same springs.
    ``"crystal-tight-binding"``: gap, binding energy, densities of states of universal tight binding. ``"slab"``: gap,
    thickness, packing and faces of layers. ``"crystal-dispersion"``: D4's energies, C6 coefficients, polarizabilities.
    ``"crystal-system"`` (7 classes) and ``"space-group"`` (230). ``mgl-ssl list targets`` shows those of other
    packages, too.

    The mean over atoms of their last vectors is there in every architecture, and all of it stays when fine-tuning
    starts a fresh readout. Of a readout that was trained to make a vector, fine-tuning keeps what makes it.

    Args:
        encoder: The encoder to be trained.
        targets: Which of these.
        view: ``"clean"``, ``"masked"`` (one encoding together with ``masked-atoms``: composition, density and charges
            of hidden atoms must then be inferred), ``"displaced"`` (symmetry and pattern of the crystal at rest), or
            a registered view.
        loss: ``"mae"``, ``"huber"`` or ``"mse"``, on standardised columns.
        vector: ``"mean"`` over atoms, or the ``"readout"``'s (of intensive models).
        fraction: Share of the atoms that the masked view hides.
        sigma: Standard deviation of the displaced view's noise in Å.
    """

    summary: ClassVar[str] = "predict each crystal's density, composition, symmetry, powder pattern, Ewald energy"
    level = "crystal"

    def __init__(
        self,
        encoder: Encoder,
        *,
        targets: list[registry.Spec] = EVERY,
        view: ViewName | registry.Spec = "masked",
        loss: LossName = "mae",
        vector: Literal["mean", "readout"] = "mean",
        fraction: float = 0.15,
        sigma: float = 0.1,
    ) -> None:
        self.trains_readout = vector == "readout"
        dim = encoder.readout_dim if self.trains_readout else encoder.node_dim
        super().__init__(encoder, dim, targets=targets, view=view, loss=loss, fraction=fraction, sigma=sigma)

    def head(self, name: str, dim: int, loss: LossName) -> RegressionHead | ClassHead:
        """Classification where the target is a class."""
        if name == "space-group":
            return ClassHead(name, dim, N_SPACE_GROUPS, space_group_class)
        if name == "crystal-system":
            return ClassHead(name, dim, len(CRYSTAL_SYSTEMS), crystal_system_class)
        return super().head(name, dim, loss)

    def vectors(self, features: Features, batch: CrystalBatch) -> Tensor:
        """Of the readout, or the mean over atoms."""
        if self.trains_readout:
            assert features.readout is not None  # noqa: S101 - readout_dim saw to it
            return features.readout
        return batch.mean_over_atoms(features.node[-1])

    def values(self, batch: CrystalBatch, target: Target) -> Tensor:
        """One row per crystal."""
        return batch.labels[target.column]
