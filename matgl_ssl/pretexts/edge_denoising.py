"""Edge denoising: recover how long the edges were before the atoms moved."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from matgl_ssl.backends import NOISE, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.losses import global_mean
from matgl_ssl.views import DisplaceAtoms

from .pretext import Pretext, PretextOutput


class EdgeDenoising(Pretext):
    """Displace atoms on a fixed set of edges and recover the edges at rest (CDSSL; New et al., arXiv 2408.17255).

    A network of the last layer's edge vectors is fitted, by mean squared error over edges and components, to the
    encoder's own expansion of each edge's length at rest: MEGNet's Gaussians, M3GNet's spherical Bessel functions, as
    they were when training began. Edges between images of one atom keep their length whatever the noise, and do not
    count: a one-atom cell teaches nothing. No derivative is needed: one pass, the cheapest denoising there is.

    The paper names the task, MEGNet and Set2Set; noise, head and loss are not in what we could read of it: they are
    ours. So is ``predict="change"``: the network says what to add to the displaced edge's expansion, and starts at
    nothing, instead of first having to learn the expansion itself.

    Args:
        encoder: The encoder to be trained.
        sigma: Standard deviation of the noise in Å.
        target: The ``"expansion"`` of the length, or the ``"distance"`` itself (in Å).
        predict: The ``"change"`` from the displaced edge, or the edge at rest as a ``"whole"``, as published.
    """

    summary: ClassVar[str] = "recover the lengths that edges had before the atoms were displaced"

    def __init__(
        self,
        encoder: Encoder,
        *,
        sigma: float = 0.1,
        target: Literal["expansion", "distance"] = "expansion",
        predict: Literal["change", "whole"] = "change",
    ) -> None:
        super().__init__(encoder)
        if target == "expansion":
            self.expansion: nn.Module = copy.deepcopy(encoder.model.bond_expansion).requires_grad_(False)
        else:
            self.expansion = nn.Unflatten(0, (-1, 1))
        self.views = {"displaced": DisplaceAtoms(sigma=sigma, topology="clean")}
        size = self.expansion(torch.ones(1, device=encoder.mask_token.device, dtype=encoder.dtype)).shape[1]
        width = encoder.edge_dim
        last = nn.Linear(width, size)
        if predict == "change":
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
        self.predict = predict

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Mean squared error; ``baseline`` is that of taking the displaced edges for those at rest."""
        crystals, predicted = batch["displaced"], self.head(features["displaced"].edge[-1])
        source, destination = crystals.edge_index
        vectors, noise = crystals.edge_vectors(), crystals.atom[NOISE]
        at_rest = vectors - (noise[destination] - noise[source])
        target, displaced = (self._expand(v.to(predicted)) for v in (at_rest, vectors))
        change, counts = target - displaced, source != destination
        wrong = change - predicted if self.predict == "change" else target - predicted
        loss, baseline = (global_mean(x.square().mean(1), counts) for x in (wrong, change))
        return PretextOutput(loss, {"baseline": baseline})

    @torch.no_grad()
    def _expand(self, vectors: Tensor) -> Tensor:
        return self.expansion(vectors.norm(dim=1)).to(vectors)
