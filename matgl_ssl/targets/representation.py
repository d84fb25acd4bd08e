"""The representation that an encoder gives each atom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch

from matgl_ssl._backend import BACKEND, MATGL_VERSION
from matgl_ssl._files import digest
from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import Graph, collate
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.devices import device_of, fit_to
from matgl_ssl.encoders import Encoder

from .target import Target


@dataclass(frozen=True)
class Representation(Target):
    """An encoder's atom vectors at chosen layers, one layer after the other.

    Attributes:
        weights: Hash of the encoder and of what runs it: two are the same column if they have the same weights.
        layers: The layers.
        encoder: The encoder, in eval mode.
    """

    name: ClassVar[str] = "representation"
    level: ClassVar[Literal["atom", "crystal"]] = "atom"
    parallel: ClassVar[bool] = False

    weights: str
    layers: tuple[int, ...]
    encoder: Encoder = field(repr=False, compare=False)

    @classmethod
    def of(cls, model: Any, layers: Sequence[int], device: torch.device | None = None) -> Self:
        """The representation that a bare MatGL model gives, computed where the model lies or on ``device``."""
        facts = (type(model).__name__, model._init_args, BACKEND, MATGL_VERSION)
        weights = sorted(model.state_dict().items())
        parts = (part for name, value in weights for part in (name, value.detach().cpu().numpy().tobytes()))
        name = digest(chain([repr(facts)], parts), 16)
        if device is not None and device != device_of(model):
            from matgl_ssl.hub import copy_model

            with torch.random.fork_rng(devices=[]):  # the copy's first weights, which are replaced
                model = fit_to(accelerate(copy_model(model)), device).to(device)
        return cls(name, tuple(layers), Encoder(model).eval())

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """Vectors of the atoms, ``(N, d)``."""
        return self.of_many([crystal])[0]

    def of_many(self, crystals: Sequence[Crystal]) -> list[np.ndarray]:
        """Vectors of the atoms of several crystals, in one batch."""
        return [vectors.numpy() for vectors in self.of_graphs(list(map(self.encoder.graph_builder(), crystals)))]

    @torch.no_grad()
    def of_graphs(self, graphs: Sequence[Graph]) -> list[torch.Tensor]:
        """Vectors of the atoms of several graphs, in one batch."""
        node = self.encoder(collate(graphs)).node
        vectors = torch.cat([node[layer] for layer in self.layers], dim=1).cpu()
        return list(vectors.split([len(graph.node_type) for graph in graphs]))
