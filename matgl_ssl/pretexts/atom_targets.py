"""Atom targets: tell what surrounds each atom, in numbers that the structure determines."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from matgl_ssl import registry
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.renamed import LossName
from matgl_ssl.targets import Target

from .structure_targets import StructureTargets, ViewName

DEFAULT: list[registry.Spec] = ["radial-fingerprint", "coordination"]


class AtomTargets(StructureTargets):
    """Predict each atom's fingerprints from its vector at the last layer.

    ``"radial-fingerprint"``: which elements, by their properties, stand at which distance. ``"angular-fingerprint"``:
    under which angles; for architectures that see them (M3GNet). ``"coordination"``: distance of the nearest neighbour
    and effective coordination number. ``"atom-bonds"``: its charge and its bonds by Pauling's rules.
    ``"atom-vibrations"``: how stiffly it is held, by Gordy's rule.
    ``"atom-tight-binding"``: its charge and its part in the bands. ``"promolecular-density"``: what its neighbours'
    free-atom densities are at its nucleus. ``mgl-ssl list targets`` shows those of other
    packages, too.

    What is asked: on a clean view, to compute a known function of the surroundings, which no single message of these
    encoders does, so that the vectors must come to hold them. A fingerprint sums over an atom's *neighbours*. Under the
    masked view that of a masked atom is therefore no guess (its neighbours are mostly visible, and its own element
    does not enter), while its neighbours' is: they must infer the hidden element, which their fingerprint contains
    beside what they see. Distances are visible throughout. In a cell so small that a masked atom's images are its own
    neighbours, and in cells of one atom, all of the chemistry in the target must be inferred from the geometry.

    Args:
        encoder: The encoder to be trained.
        targets: Which of these.
        view: ``"clean"``, ``"masked"`` (one encoding together with ``masked-atoms``) or ``"displaced"`` (the targets
            are those of the crystal at rest), or a registered view.
        loss: ``"mae"``, ``"huber"`` or ``"mse"``, on standardised columns.
        fraction: Share of the atoms that the masked view hides.
        sigma: Standard deviation of the displaced view's noise in Å.
    """

    summary: ClassVar[str] = "predict each atom's radial and angular surroundings and coordination"
    level = "atom"

    def __init__(
        self,
        encoder: Encoder,
        *,
        targets: list[registry.Spec] = DEFAULT,
        view: ViewName | registry.Spec = "masked",
        loss: LossName = "mae",
        fraction: float = 0.15,
        sigma: float = 0.1,
    ) -> None:
        super().__init__(
            encoder, encoder.node_dim, targets=targets, view=view, loss=loss, fraction=fraction, sigma=sigma
        )

    def vectors(self, features: Features, batch: CrystalBatch) -> Tensor:
        """Atom vectors at the last layer."""
        return features.node[-1]

    def values(self, batch: CrystalBatch, target: Target) -> Tensor:
        """One row per atom."""
        return batch.atom[target.column]
