"""The view contract: a pure function of a crystal and a random generator."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from matgl_ssl.arguments import check_fields
from matgl_ssl.backends import Graph
from matgl_ssl.crystals.records import Crystal


@dataclass(frozen=True)
class View:
    """What a pretext shows the encoder of a crystal. This one shows it as it is.

    Views are frozen dataclasses: two equal views are the same view, and a mixture of pretexts encodes it once. Fields
    are checked against their annotations.
    Give ``draw`` different values to draw twice from the same distribution.

    Attributes:
        draw: Tells apart independent draws of otherwise equal views.
        static: Draw once before training, as DSSL and related systems do, instead of once each epoch.
    """

    draw: int = 0
    static: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def on_crystal(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        """Return the crystal to build the graph of: the one given, never changed, or another."""
        return crystal

    def on_graph(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """Change or annotate the graph just built, in place, but not its tensors: other views may share them."""
        return graph

    @property
    def stream(self) -> int:
        """Number of this view's random stream: a sample's randomness is f(seed, epoch, sample, stream) and no more."""
        return zlib.crc32(repr(self).encode())


def sample_generator(seed: int, epoch: int, sample: int, stream: int) -> np.random.Generator:
    """The random generator of one view of one sample in one epoch, whatever the batch, worker, rank or resume point."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, sample, stream]))
