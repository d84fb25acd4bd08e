"""Several pretexts on one encoder, each distinct view encoded once, those of a kind in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder, Features, encode_jointly
from matgl_ssl.errors import ConfigError
from matgl_ssl.views import View

from .pretext import Pretext, PretextOutput, TrainedOutput


class Mixture(nn.Module):
    """The weighted sum of pretexts.

    Args:
        pretexts: The pretexts under their names.
        weights: Weight of each pretext's loss, under the same names.

    Raises:
        ConfigError: If two pretexts train the model's own output, which can have one meaning only, or if only some of
            those that train the readout want it to see the atoms detached.
    """

    def __init__(self, pretexts: Mapping[str, Pretext], weights: Mapping[str, float]) -> None:
        super().__init__()
        if len(trainers := [name for name, p in pretexts.items() if p.trains_output]) > 1:
            raise ConfigError(f"Only one pretext can train the model's own output, not {' and '.join(trainers)}.")
        self.pretexts = nn.ModuleDict(pretexts)
        self.detached_readout = any(p.detached_readout for p in pretexts.values())
        taught = [k for k, p in pretexts.items() if (p.trains_readout or p.trains_output) and not p.detached_readout]
        if self.detached_readout and taught:
            raise ConfigError(
                f"{', '.join(taught)} trains the encoder through its readout, which another pretext cuts off from it. "
                "Give deep-infomax training: joint, or local."
            )
        self.weights = dict(weights)
        self.views: tuple[View, ...] = tuple(dict.fromkeys(v for p in pretexts.values() for v in p.views.values()))
        forces = {v for p in pretexts.values() for name, v in p.views.items() if name in p.forces}
        stresses = {v for p in pretexts.values() for name, v in p.views.items() if name in p.stresses}
        self._passes: dict[tuple[bool, bool], list[View]] = {}
        for view in self.views:
            self._passes.setdefault((view in forces, view in stresses), []).append(view)
        self.trains_readout = any(p.trains_readout for p in pretexts.values())
        self.targets = tuple(dict.fromkeys(t for p in pretexts.values() for t in p.targets))
        self.labels = tuple(dict.fromkeys(label for p in pretexts.values() for label in p.labels))

    def prepare(self, crystals: CrystalDataset) -> None:
        """Let each pretext look at the training crystals."""
        for pretext in self.pretexts.values():
            cast("Pretext", pretext).prepare(crystals)

    def after_step(self, encoder: Encoder) -> None:
        """Let each pretext look at the encoder after a step of the optimiser."""
        for pretext in self.pretexts.values():
            cast("Pretext", pretext).after_step(encoder)

    @property
    def trained_output(self) -> TrainedOutput | None:
        """What the model's own output has become; None if no pretext trains it."""
        for pretext in self.pretexts.values():
            if cast("Pretext", pretext).trains_output:
                return cast("Pretext", pretext).trained_output()
        return None

    def forward(
        self, encoder: Encoder, batches: Sequence[CrystalBatch]
    ) -> tuple[Tensor, dict[str, PretextOutput], Features]:
        """Encode every view, those that are differentiated alike together, and ask every pretext.

        Args:
            encoder: The encoder.
            batches: One batch for each of ``views``, in order.

        Returns:
            The weighted loss, each pretext's output, and the features of the first view.
        """
        batch = dict(zip(self.views, batches, strict=True))
        features: dict[View, Features] = {}
        for (forces, stresses), views in self._passes.items():
            found = encode_jointly(
                encoder, [batch[view] for view in views], forces=forces, stresses=stresses,
                detached_readout=self.detached_readout,
            )  # fmt: skip
            features |= dict(zip(views, found, strict=True))
        pretexts = cast("Mapping[str, Pretext]", self.pretexts)
        outputs: dict[str, PretextOutput] = {
            name: pretext(
                {k: features[v] for k, v in pretext.views.items()}, {k: batch[v] for k, v in pretext.views.items()}
            )
            for name, pretext in pretexts.items()
        }
        loss = torch.stack([self.weights[name] * output.loss for name, output in outputs.items()]).sum()
        return loss, outputs, features[self.views[0]]
