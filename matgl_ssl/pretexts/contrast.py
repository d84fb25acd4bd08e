"""Contrast: two views of a crystal have the same vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from matgl_ssl import registry
from matgl_ssl.arguments import Positive
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import ConfigError
from matgl_ssl.losses import barlow_twins, cosine, global_mean, nt_xent, simsiam, vicreg
from matgl_ssl.views import (
    Compose,
    DropEdges,
    HideEdges,
    MaskAtoms,
    MaskCount,
    Perturb,
    Resample,
    Supercell,
    View,
)

from .heads import perceptron
from .pretext import Pretext, PretextOutput

VIEWS = ("first", "second")

Loss = Literal["cosine", "barlow-twins", "simsiam", "nt-xent", "vicreg"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cosine": cosine, "barlow-twins": barlow_twins, "nt-xent": nt_xent, "vicreg": vicreg
}  # fmt: skip


class Contrast(Pretext):
    """Compare the vectors of two independent views of each crystal, behind a projector that is thrown away.

    Both views come from the same distribution: supercell, then perturbation, masked atoms, dropped edges, hidden edges,
    as far as they are asked for. The losses are in ``matgl_ssl.losses``. DSSL (arXiv 2401.05223) is ``loss="cosine"``
    without projector on perturbed crystals; Crystal Twins (npj Comput. Mater. 8, 231) ``"barlow-twins"`` or
    ``"simsiam"``; the contrastive variant of Kong et al. (arXiv 2211.03563) ``"nt-xent"`` with
    ``denominator="negatives"``. DSSL pools atoms by an attention, and Crystal Twins passes their mean through a layer;
    both transfer these. With ``vector="readout"`` the model's readout makes the vectors, and fine-tuning keeps it.

    Args:
        encoder: The encoder to be trained.
        loss: What to compare them with.
        distance: Longest displacement of an atom in Å; 0 moves none.
        min_distance: Shortest displacement in Å.
        mask_atoms: Share of the atoms to mask; 0 masks none.
        mask_count: How many atoms that is (see ``MaskAtoms``): on average that share and never the whole cell, or a
            published count.
        drop_edges: Share of the edges to remove.
        hide_edges: Share of the edges whose length and direction to hide.
        supercell_atoms: Show random supercells of up to so many atoms; None shows the cell as it is.
        vector: The ``"mean"`` of the atoms' last vectors, or the ``"readout"``'s (of intensive models).
        projector: Sizes of the projector's linear layers, softplus between them; none compares the vectors themselves.
        resample: Draw new views each ``"epoch"``, or ``"never"``: once before training, as DSSL.
        views: Further views by name, with their arguments (``mgl-ssl list views``), applied after those above.
        off_diagonal: Barlow Twins' weight of the redundancy term.
        normalise_rows: Scale vectors to length one before Barlow Twins, as published for Crystal Twins.
        temperature: T of NT-Xent.
        denominator: NT-Xent's denominator: ``"all"``, or without the positive as published by Kong et al.
        invariance: VICReg's weight of the difference of the views.
        variance: VICReg's weight of deviations that fall short of one.
        covariance: VICReg's weight of correlated dimensions.
    """

    summary: ClassVar[str] = "give two views of a crystal (perturbed, masked, thinned, grown) the same vector"

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Loss = "barlow-twins",
        distance: float = 0.5,
        min_distance: float = 0.1,
        mask_atoms: float = 0.0,
        mask_count: MaskCount = "unbiased",
        drop_edges: float = 0.0,
        hide_edges: float = 0.0,
        supercell_atoms: int | None = None,
        vector: Literal["mean", "readout"] = "mean",
        projector: tuple[int, ...] = (64, 64, 64),
        resample: Resample = "epoch",
        views: list[registry.Spec] = [],  # noqa: B006 - is only read
        off_diagonal: float = 0.0051,
        normalise_rows: bool = False,
        temperature: Positive = 0.1,
        denominator: Literal["all", "negatives"] = "all",
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        steps: list[View] = []
        if supercell_atoms is not None:
            steps.append(Supercell(max_atoms=supercell_atoms))
        if distance:
            steps.append(Perturb(distance=distance, min_distance=min_distance))
        if mask_atoms:
            steps.append(MaskAtoms(fraction=mask_atoms, count=mask_count))
        if drop_edges:
            steps.append(DropEdges(fraction=drop_edges))
        if hide_edges:
            steps.append(HideEdges(fraction=hide_edges))
        steps += [registry.build("views", spec) for spec in views]
        if not steps:
            raise ConfigError("Contrast needs two views that differ: set distance, mask_atoms, drop_edges, ... .")
        static = resample == "never"
        self.views = {name: Compose(views=tuple(steps), draw=i, static=static) for i, name in enumerate(VIEWS)}
        self.trains_readout = vector == "readout"
        sizes = (encoder.readout_dim if self.trains_readout else encoder.node_dim, *projector)
        self.projector = perceptron(*sizes)
        self.predictor = perceptron(*(sizes[-1],) * 3) if loss == "simsiam" else None
        self.loss = loss
        options: dict[str, dict[str, Any]] = {
            "barlow-twins": {"off_diagonal": off_diagonal, "normalise_rows": normalise_rows},
            "nt-xent": {"temperature": temperature, "denominator": denominator},
            "vicreg": {"invariance": invariance, "variance": variance, "covariance": covariance},
        }
        self.options = options.get(loss, {})

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """The loss over the whole batch; ``similarity`` is the mean cosine of a crystal's two vectors."""
        first, second = (self.projector(self._vectors(features[name], batch[name])) for name in VIEWS)
        similarity = global_mean(functional.cosine_similarity(first.detach(), second.detach()))
        return PretextOutput(self._compare(first, second), {"similarity": similarity})

    def _vectors(self, features: Features, batch: CrystalBatch) -> Tensor:
        if self.trains_readout:
            assert features.readout is not None  # noqa: S101 - readout_dim saw to it
            return features.readout
        return batch.mean_over_atoms(features.node[-1])

    def _compare(self, first: Tensor, second: Tensor) -> Tensor:
        if self.predictor is not None:
            return simsiam(first, second, self.predictor(first), self.predictor(second))
        return LOSSES[self.loss](first, second, **self.options)
