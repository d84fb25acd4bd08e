"""Pretrained encoders that learners start from, and the vectors that they give crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from matgl_ssl.crystals import Crystal, CrystalDataset, check_structure
from matgl_ssl.encoders import Encoder, architecture_of
from matgl_ssl.hub import evaluating, load_with_stamp, resolve
from matgl_ssl.hub.fingerprint import fingerprint
from matgl_ssl.inference.embed import chosen_layers, encode
from matgl_ssl.targets import Target

_EXPORTS = ("encoder", "model")
_BATCH = 64


@dataclass(frozen=True)
class CrystalVectors(Target):
    """The vectors that ``embed`` gives crystals by default.

    Attributes:
        weights: Hash of the encoder: two are the same column if they have the same weights.
        layers: The layers they come from.
        size: Their length.
        encoder: The encoder, in eval mode.
    """

    name: ClassVar[str] = "crystal-vectors"
    level: ClassVar[Literal["atom", "crystal"]] = "crystal"
    parallel: ClassVar[bool] = False

    weights: str
    layers: tuple[Any, ...]
    encoder: Encoder = field(repr=False, compare=False)

    @property
    def size(self) -> int:
        """Length of the vectors."""
        sizes = (self.encoder.node_dims[n] if isinstance(n, int) else self.encoder.readout_dim for n in self.layers)
        return sum(size or 0 for size in sizes)

    def __call__(self, crystal: Crystal) -> np.ndarray:
        """The vector of one crystal, ``(d,)``."""
        return self.of_many([crystal])[0]

    def of_many(self, crystals: Sequence[Crystal]) -> list[np.ndarray]:
        """Vectors of several crystals; NaN for those that the encoder cannot be given."""
        limits: dict[str, Any] = {"element_types": self.encoder.element_types, "cutoff": self.encoder.cutoff}
        good = [i for i, crystal in enumerate(crystals) if not check_structure(crystal, **limits)]
        found = [np.full(self.size, np.nan) for _ in crystals]
        if good:
            table = CrystalDataset.from_crystals([crystals[i] for i in good])
            with evaluating(self.encoder):
                parts = encode(self.encoder, table, self.layers, "crystal", "mean", None, _BATCH)
                for i, vector in zip(good, np.concatenate([part for _, part in parts]), strict=True):
                    found[i] = vector
        return found


@dataclass(frozen=True, eq=False)
class PretrainedEncoder:
    """An encoder that was loaded once.

    Attributes:
        name: What the user calls it.
        path: Its directory.
        weights: Hash of its files.
        encoder: It, in eval mode.
        target: The vectors that it gives crystals.
    """

    name: str
    path: Path
    weights: str
    encoder: Encoder
    target: CrystalVectors

    @classmethod
    def load(cls, name: str, source: str | Path) -> Self:
        """Load an encoder.

        Args:
            name: What to call it.
            source: A model or run directory, or a hub name.

        Raises:
            ModelError: If it cannot be loaded.
        """
        path = resolve(source, prefer=_EXPORTS)
        weights = fingerprint(path, prefer=_EXPORTS)
        model, stamp = load_with_stamp(path, prefer=_EXPORTS)
        encoder = Encoder(model).eval()
        layers = chosen_layers(encoder, stamp, None, "crystal")
        return cls(name, path, weights, encoder, CrystalVectors(weights, layers, encoder))

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return architecture_of(self.encoder.model).name
