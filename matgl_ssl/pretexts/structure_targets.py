"""What the pretexts on computed targets share: a view, a head for each target, and the sum of their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from matgl_ssl import registry
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.errors import ConfigError, unknown
from matgl_ssl.renamed import LossName
from matgl_ssl.targets import Target
from matgl_ssl.views import DisplaceAtoms, View, masked

from .pretext import Pretext, PretextOutput
from .target_heads import ClassHead, RegressionHead

ViewName = Literal["clean", "masked", "displaced"]

_SAMPLE = 10_000
"""Crystals from which scales are taken, evenly spaced: their spread is then known to a per cent."""


def view_named(name: ViewName | registry.Spec, *, fraction: float, sigma: float) -> View:
    """The view under which targets are asked for.

    Raises:
        ConfigError: If there is no such view.
    """
    if name == "clean":
        return View()
    if name == "displaced":
        return DisplaceAtoms(sigma=sigma)
    if name == "masked":
        return masked(fraction, distances="visible", resample="epoch")
    if isinstance(name, str) and name not in registry.names("views"):
        raise unknown("view", name, [*get_args(ViewName), *registry.names("views")])
    view: View = registry.build("views", name)
    return view


class StructureTargets(Pretext):
    """Predict computed targets; the sum of the heads' losses, each in units of what knowing nothing costs.

    Subclasses say of which level their targets are, build a head for each, and say what the heads see.

    Args:
        encoder: The encoder to be trained.
        dim: Size of the vectors that the heads see.
        targets: Registered targets by name, with their arguments if there are any.
        view: ``"clean"``; ``"masked"``, the view of ``masked-atoms``; ``"displaced"``, that of the denoising pretexts;
            or a registered view. Targets are always those of the crystal as it is.
        loss: Loss of the regression heads.
        fraction: Share of the atoms that the masked view hides.
        sigma: Standard deviation of the displaced view's noise in Å.
    """

    level: ClassVar[Literal["atom", "crystal"]]

    def __init__(
        self,
        encoder: Encoder,
        dim: int,
        *,
        targets: Sequence[registry.Spec],
        view: ViewName | registry.Spec,
        loss: LossName,
        fraction: float,
        sigma: float,
    ) -> None:
        super().__init__(encoder)
        if not targets:
            raise ConfigError(f"Name at least one target: {', '.join(registry.names('targets'))}.")
        self.views = {"view": view_named(view, fraction=fraction, sigma=sigma)}
        self.target_of: dict[str, Target] = {
            spec if isinstance(spec, str) else next(iter(spec)): registry.build("targets", spec) for spec in targets
        }
        for name, target in self.target_of.items():
            if target.level != self.level:
                raise ConfigError(
                    f"Target {name!r} has a row for each {target.level}: it belongs to {target.level}-targets."
                )
        self.targets = tuple(dict.fromkeys(self.target_of.values()))
        self.heads = nn.ModuleDict({name: self.head(name, dim, loss) for name in self.target_of})

    def head(self, name: str, dim: int, loss: LossName) -> RegressionHead | ClassHead:
        """The head of a target."""
        return RegressionHead(name, dim, self.target_of[name].size, loss)

    def vectors(self, features: Features, batch: CrystalBatch) -> Tensor:
        """What the heads see, ``(n, d)``."""
        raise NotImplementedError

    def values(self, batch: CrystalBatch, target: Target) -> Tensor:
        """A target's values in a batch, ``(n, size)``."""
        raise NotImplementedError

    def prepare(self, crystals: CrystalDataset) -> None:
        """Take scales from (at most 10,000 of) the training crystals."""
        if len(crystals) > _SAMPLE:
            crystals = crystals.select(np.linspace(0, len(crystals) - 1, _SAMPLE).round().astype(int))
        for name, target in self.target_of.items():
            values = np.concatenate([v.reshape(-1, target.size) for v in crystals.column(target.column)])
            cast("RegressionHead | ClassHead", self.heads[name]).fit(values)

    def standardised(self, crystals: CrystalDataset) -> tuple[list[str], np.ndarray]:
        """What the regression heads learn of crystals, after ``prepare``.

        Returns:
            Names of the columns that vary, and their values in clipped standard deviations, ``(rows, k)``, NaN where
            they are missing.
        """
        names: list[str] = []
        columns: list[np.ndarray] = []
        for name, head in self.heads.items():
            if isinstance(head, RegressionHead):
                target = self.target_of[name]
                values = np.concatenate([v.reshape(-1, target.size) for v in crystals.column(target.column)])
                standard, weight = head.standardise(torch.from_numpy(values))
                varies = np.flatnonzero(head.varies.cpu())
                columns.append(torch.where(weight, standard, torch.nan).numpy()[:, varies])
                names += [f"{name}/{i}" for i in varies]
        return names, np.hstack(columns) if names else np.zeros((len(crystals), 0))

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Ask every head."""
        vectors = self.vectors(features["view"], batch["view"])
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            loss, scores = head(vectors, self.values(batch["view"], self.target_of[name]))
            losses.append(loss)
            metrics |= {f"{name}_loss": loss.detach(), **{f"{name}_{k}": v for k, v in scores.items()}}
        return PretextOutput(torch.stack(losses).sum(), metrics)
