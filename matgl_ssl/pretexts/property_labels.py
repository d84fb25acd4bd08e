"""Property labels: supervision by other properties than the one that is wanted, several at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from matgl_ssl import registry
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.labels import numbers
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import DataError
from matgl_ssl.renamed import LossName
from matgl_ssl.views import View

from .pretext import Pretext, PretextOutput
from .structure_targets import ViewName, view_named
from .target_heads import RegressionHead

Kind = Literal["value", "log10", "per-atom"]


class PropertyLabels(Pretext):
    """Predict label columns from the readout's crystal vector; crystals that lack one teach the others.

    Pretraining by multi-task supervision (as Sanyal et al., arXiv 1811.05660, train). Losses are in units of what the
    mean of the column costs.

    Args:
        encoder: The encoder to be trained, intensive.
        columns: Label columns, each with what is learned of it: ``"value"``, ``"log10"`` (where it is positive), or
            ``"per-atom"`` (the value over the number of atoms).
        view: ``"clean"``, ``"masked"`` or ``"displaced"``, as for ``crystal-targets``.
        loss: ``"mae"``, ``"huber"`` or ``"mse"``, on standardised columns.
        fraction: Share of the atoms that the masked view hides.
        sigma: Standard deviation of the displaced view's noise in Å.
    """

    summary: ClassVar[str] = "predict labels of other properties, several at once (supervised)"
    trains_readout = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        columns: Annotated[dict[str, Kind], Field(min_length=1)],
        view: ViewName | registry.Spec = "clean",
        loss: LossName = "mae",
        fraction: float = 0.15,
        sigma: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        self.columns = dict(columns)
        self.labels = tuple(columns)
        self.views: Mapping[str, View] = {"view": view_named(view, fraction=fraction, sigma=sigma)}
        self.heads = nn.ModuleList(RegressionHead(name, encoder.readout_dim, 1, loss) for name in columns)

    def prepare(self, crystals: CrystalDataset) -> None:
        """Take the scale of each column.

        Raises:
            DataError: If a column is not one number for each crystal, or no crystal has a usable one.
        """
        for name, head in zip(self.columns, self.heads, strict=True):
            labels = torch.from_numpy(numbers(crystals, name))
            values = self._learned(name, labels, torch.from_numpy(crystals.sizes()))
            if not bool(values.isfinite().any()):
                raise DataError(f"No crystal of {crystals.source} has a usable {name!r}. Leave the column out.")
            cast("RegressionHead", head).fit(values[:, None].numpy())

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Ask every head; the metrics are each column's explained share."""
        crystals, vectors = batch["view"], features["view"].readout
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for name, head in zip(self.columns, self.heads, strict=True):
            values = self._learned(name, crystals.labels[name], crystals.n_atoms)
            loss, scores = head(vectors, values[:, None])
            losses.append(loss)
            metrics |= {f"{name}_{k}": v for k, v in scores.items()}
        return PretextOutput(torch.stack(losses).sum(), metrics)

    def _learned(self, name: str, labels: Tensor, n_atoms: Tensor) -> Tensor:
        """What is learned of a column, ``(B,)``; NaN where there is nothing."""
        if self.columns[name] == "per-atom":
            return labels / n_atoms
        if self.columns[name] == "log10":
            return torch.where(labels > 0, labels.clamp(min=1e-30).log10(), torch.nan)
        return labels
