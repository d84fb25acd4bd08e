"""Direct denoising: predict the displacements themselves, without an energy."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features

from .denoising import Denoising


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
        last = nn.Linear(encoder.node_dim, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(2 * encoder.node_dim + encoder.edge_dim, encoder.node_dim), nn.SiLU(), last)

    def predict(self, features: Features, crystals: CrystalBatch) -> Tensor:
        """Sum each atom's edges."""
        source, destination = crystals.edge_index
        nodes = features.node[-1]
        layers: list[Any] = list(self.head)
        first, *rest = layers
        width = nodes.shape[1]
        by_source, by_destination, by_edge = first.weight.split([width, width, first.in_features - 2 * width], dim=1)
        # The first layer's parts for atoms act on atoms, of which there are fewer than edges.
        scalars = functional.linear(cast("Tensor", features.edge[-1]), by_edge, first.bias)
        for weight, atom in ((by_source, source), (by_destination, destination)):
            scalars = scalars + functional.linear(nodes, weight).index_select(0, atom)
        for layer in rest:
            scalars = layer(scalars)
        directions = functional.normalize(crystals.edge_vectors().to(scalars), dim=1)
        return scalars.new_zeros(len(nodes), 3).index_add(0, source, scalars * directions)
