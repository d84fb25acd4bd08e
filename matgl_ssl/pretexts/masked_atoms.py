"""Masked atoms: tell what a hidden atom is from what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pymatgen.core import Element
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import MASK, CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.losses import global_mean
from matgl_ssl.views import Distances, Resample, Sites, masked

from .pretext import Pretext, PretextOutput

N_GROUPS, N_PERIODS = 19, 7


def group_and_period(symbol: str) -> tuple[int, int]:
    """Classes of an element: group 1-18, or 0 for the f block (Kong et al.), and period - 1."""
    element = Element(symbol)
    f_block = element.is_lanthanoid or element.is_actinoid
    return (0 if f_block else element.group), element.row - 1


class MaskedAtoms(Pretext):
    """Predict the element of masked atoms, or their group and period, from the last layer's atom vectors.

    ``target="element"`` is DSSL's node masking (arXiv 2401.05223; usccolumbia/DSSL): cross entropy over the elements,
    here over the model's element list instead of 115 channels. ``target="group-period"`` is that of Kong et al.
    (arXiv 2211.03563; 19 groups and 7 periods, unit weights). A linear head each.

    Args:
        encoder: The encoder to be trained.
        target: What to predict.
        fraction: Share of the atoms to mask; ``int(fraction * N + 1)`` of them.
        distances: Whether the lengths of the edges that touch masked atoms are ``"visible"``, as published, or
            ``"hidden"``, so that ``masked-edges`` may ask for them from the same view.
        resample: Draw new masks each ``"epoch"``, or ``"never"``: once before training, as DSSL.
        sites: Mask ``"any"`` atoms, or ``"magnetic"`` ones and as many others, as Kong et al. for magnets.
    """

    summary: ClassVar[str] = "predict the element (or group and period) of hidden atoms"

    def __init__(
        self,
        encoder: Encoder,
        *,
        target: Literal["element", "group-period"] = "element",
        fraction: float = 0.15,
        distances: Distances = "visible",
        resample: Resample = "epoch",
        sites: Sites = "any",
    ) -> None:
        super().__init__(encoder)
        if target == "element":
            classes = torch.arange(len(encoder.element_types))[:, None]
            sizes = {"element": len(encoder.element_types)}
        else:
            classes = torch.tensor([group_and_period(symbol) for symbol in encoder.element_types])
            sizes = {"group": N_GROUPS, "period": N_PERIODS}
        self.views = {"masked": masked(fraction, distances=distances, resample=resample, sites=sites)}
        self.heads = nn.ModuleDict({name: nn.Linear(encoder.node_dim, size) for name, size in sizes.items()})
        self.register_buffer("classes", classes, persistent=False)
        self.classes: Tensor

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Sum of the heads' cross entropies, averaged over the masked atoms of the batch."""
        mask = batch["masked"].atom[MASK]
        vectors = features["masked"].node[-1][mask]
        classes = self.classes[batch["masked"].node_type[mask]]
        loss = vectors.new_zeros(())
        metrics = {}
        for (name, head), target in zip(self.heads.items(), classes.unbind(1), strict=True):
            logits = head(vectors)
            loss = loss + global_mean(functional.cross_entropy(logits, target, reduction="none"))
            metrics[f"{name}_accuracy"] = global_mean((logits.detach().argmax(1) == target).to(loss.dtype))
        return PretextOutput(loss, metrics)
