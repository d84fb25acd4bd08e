"""Direct denoising: predict the displacements themselves, without an energy."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features

from .denoising import Denoising
from .edge_head import EdgeHead, Modulation, atom_vectors


class DirectDenoising(Denoising):
    """The prediction-head baseline of derivative denoising (Jia et al., Digital Discovery 2024, 3, 586).

    M3GNet's and MEGNet's atom vectors are invariant: they stay the same when the crystal is rotated, while the
    displacement turns with it. A head on the atom vectors alone can therefore not predict a displacement; the best it
    can do is zero. Directions must come from outside:
    ``v_i = sum over edges i->j of s_ij (x_j - x_i) / |x_j - x_i|`` with ``s_ij`` from a network of atom i, atom j and
    their edge at the last layer. That turns with the crystal, and vanishes at a centre of inversion, as it must.

    ``s_ij`` and ``s_ji`` differ, so that the sum of v over a crystal is not zero as that of forces is; with
    ``remove_com`` the target's is. The last layer starts at zero: training starts at the baseline exactly.
    The paper's head class is not in its released code; the form of this one is ours. Options, noise and target are
    those of ``derivative-denoising``. One pass, no double backward.
    """

    summary: ClassVar[str] = "predict the displacement of each atom along its edges (no energy, no derivative)"

    def set_up(self, encoder: Encoder) -> None:
        """A network that gives each edge a number, zero at first."""
        self.head = EdgeHead(encoder)

    def predict(self, features: Features, crystals: CrystalBatch, modulation: Modulation | None = None) -> Tensor:
        """Sum each atom's edges."""
        return atom_vectors(self.head(features, crystals, modulation), crystals)
