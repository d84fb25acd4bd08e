"""Masked edges: tell how long the edges of a hidden atom are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn
from torch.nn import functional

from matgl_ssl.backends import MASK, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.losses import global_mean
from matgl_ssl.views import Distances, Resample, Sites, masked, one_direction

from .pretext import Pretext, PretextOutput

BIN = 0.2
"""Distance from one class to the next in Å."""


class MaskedEdges(Pretext):
    """Classify the lengths of the edges that touch a masked atom, from the sum of their ends' last atom vectors.

    The edge half of Kong et al.'s predictive pretraining (arXiv 2211.03563;
    Harrykjg-physics/self-supervised-atomic-representations): class k is the lengths nearest to ``0.2 k`` Å, up to the
    model's cutoff, a linear head on ``h_u + h_v``, cross entropy. Their encoder sees the distances it is asked for
    (``distances="visible"``), and their list of every second incident edge, meant to keep one of the two directions,
    drops half of the bonds; here each undirected edge counts once.

    Args:
        encoder: The encoder to be trained.
        fraction: Share of the atoms to mask; ``int(fraction * N + 1)`` of them.
        distances: Whether the lengths of these edges are ``"hidden"`` from the encoder, or ``"visible"`` as published.
        resample: Draw new masks each ``"epoch"``, as published, or ``"never"``: once before training.
        sites: Mask ``"any"`` atoms, or ``"magnetic"`` ones and as many others, as Kong et al. for magnets.
    """

    summary: ClassVar[str] = "predict the lengths of the edges that touch hidden atoms"

    def __init__(
        self,
        encoder: Encoder,
        *,
        fraction: float = 0.15,
        distances: Distances = "hidden",
        resample: Resample = "epoch",
        sites: Sites = "any",
    ) -> None:
        super().__init__(encoder)
        self.views = {"masked": masked(fraction, distances=distances, resample=resample, sites=sites)}
        self.head = nn.Linear(encoder.node_dim, round(encoder.cutoff / BIN) + 1)

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Cross entropy averaged over the undirected edges that touch a masked atom."""
        crystals, vectors = batch["masked"], features["masked"].node[-1]
        edges = one_direction(crystals.edge_index, crystals.pbc_offset)
        edges = edges & crystals.atom[MASK][crystals.edge_index].any(0)
        source, destination = crystals.edge_index[:, edges]
        logits = self.head(vectors.index_select(0, source) + vectors.index_select(0, destination))
        # The batch still holds the crystal's own vectors; only the encoder's copy has the hidden ones replaced.
        lengths = crystals.edge_vectors()[edges].norm(dim=1)
        target = (lengths / BIN).round().long().clamp(max=self.head.out_features - 1)
        loss = global_mean(functional.cross_entropy(logits, target, reduction="none"))
        right = (logits.detach().argmax(1) == target).to(loss.dtype)
        return PretextOutput(loss, {"accuracy": global_mean(right)})
