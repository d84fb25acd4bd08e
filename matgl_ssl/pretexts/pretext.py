"""The pretext contract: views in, features back, a loss out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from matgl_ssl import registry
from matgl_ssl.arguments import checked
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder, Features
from matgl_ssl.targets import Target
from matgl_ssl.views import View


@dataclass(eq=False)
class PretextOutput:
    """What a pretext says of a batch.

    Attributes:
        loss: Scalar to minimise.
        metrics: Further scalars for the log, detached. Of several processes the average is logged: means are to be
            taken by ``global_mean``, too.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainedOutput:
    """What the model's own output has become: ``scale * output + sum of references`` in ``unit``.

    Attributes:
        kind: What it was trained on; the stamp's ``readout``.
        unit: Its unit.
        scale: Unit of the model while it trains.
        references: Energy of each element of the model, shape ``(n_elements,)``; None for none.
    """

    kind: str
    unit: str
    scale: float = 1.0
    references: Tensor | None = None


class Pretext(nn.Module):
    """A question put to the encoder that needs no property label.

    A subclass sets ``views`` in its constructor, builds its heads from the encoder's sizes (and does not keep the
    encoder), and answers ``forward``. It knows tensors only: no graph library, no trainer. Register it under the
    entry-point group ``matgl_ssl.pretexts``; the constructor's keyword arguments are what a recipe can set, and are
    checked against their annotations.

    Attributes:
        summary: One line for ``mgl-ssl list pretexts``.
        views: The views it needs, under names of its own choosing.
        forces: Names of the views whose output must be differentiated by positions.
        stresses: Names of the views whose output must be differentiated by strain as well.
        targets: What must be computed from each crystal beforehand; it comes with the batches, in ``atom`` or
            ``labels``, under ``target.column``.
        labels: Columns that the crystals must come with.
        trains_readout: Whether the crystal vector that the model's readout makes is trained.
        detached_readout: Whether it is trained on atoms that it does not teach: the readout sees them detached.
        trains_output: Whether the model's own output is trained (an energy), not only its features; then
            ``trained_output`` says what it means.
    """

    summary: ClassVar[str] = ""
    trains_output: ClassVar[bool] = False
    trains_readout: bool = False
    detached_readout: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.views: Mapping[str, View] = {}
        self.forces: frozenset[str] = frozenset()
        self.stresses: frozenset[str] = frozenset()
        self.targets: tuple[Target, ...] = ()
        self.labels: tuple[str, ...] = ()

    def prepare(self, crystals: CrystalDataset) -> None:
        """Look at the training crystals before training: scales of targets, element references. Kept in buffers."""

    def after_step(self, encoder: Encoder) -> None:
        """Follow the encoder, whose weights a step of the optimiser has just changed.

        What is kept of it belongs into parameters or buffers, so that it is in the checkpoint. All processes have the
        same weights, and so the same of this.
        """

    def trained_output(self) -> TrainedOutput:
        """What the model's output means after training, for pretexts that train it."""
        raise NotImplementedError

    def forward(self, features: Mapping[str, Features], batch: Mapping[str, CrystalBatch]) -> PretextOutput:
        """Score the features of each view.

        Losses are means over the whole batch, which several processes may share: see ``matgl_ssl.losses``.

        Args:
            features: The encoder's features under the names of ``views``.
            batch: The batches they were made from, under the same names.
        """
        raise NotImplementedError


def build_pretext(name: str, encoder: Encoder, arguments: Mapping[str, Any]) -> Pretext:
    """Build a pretext for an encoder.

    Raises:
        ConfigError: If the name or one of the arguments is unknown, or an argument does not fit its annotation.
    """
    pretext: Pretext = registry.build("pretexts", name, encoder, **arguments)
    return pretext
