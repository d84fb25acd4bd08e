"""The target: how labels become what the model is trained on, and how the model comes to speak the label's unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matgl_ssl.crystals.composition import element_references
from matgl_ssl.devices import in_float64
from matgl_ssl.encoders import architecture_of
from matgl_ssl.errors import DataError


@dataclass(frozen=True, eq=False)
class Standardisation:
    """``label = scale * model + shift + sum of references``, fitted on the training labels only.

    Attributes:
        scale: Unit of the model while it trains.
        shift: Offset of an intensive target.
        references: Offset of each element of an extensive target, shape ``(n_elements,)``; None for intensive ones.
        per_atom: Whether the loss is divided by the number of atoms.
    """

    scale: float
    shift: float = 0.0
    references: Tensor | None = None
    per_atom: bool = False

    @classmethod
    def fit(cls, labels: np.ndarray) -> Standardisation:
        """Mean and standard deviation of an intensive target."""
        return cls(scale=_nonzero(float(np.std(labels))), shift=float(np.mean(labels)))

    @classmethod
    def fit_extensive(cls, labels: np.ndarray, compositions: np.ndarray) -> Standardisation:
        """Least-squares element references, and the spread of what is left per atom.

        Args:
            labels: Shape ``(n,)``.
            compositions: Atoms of each element of the model, shape ``(n, n_elements)``.
        """
        references = element_references(labels, compositions)
        rest = (labels - compositions @ references) / compositions.sum(1)
        return cls(scale=_nonzero(float(np.std(rest))), references=torch.tensor(references), per_atom=True)

    @classmethod
    def keep(cls, labels: np.ndarray) -> Standardisation:
        """For a readout that speaks physical units already: a power of two, so that folding is exact both ways."""
        return cls(scale=_power_of_two(float(np.std(labels))))

    @classmethod
    def keep_extensive(cls, labels: np.ndarray, compositions: np.ndarray, references: Tensor | None) -> Standardisation:
        """The same for an extensive readout and the element references it came with."""
        offsets = 0.0 if references is None else compositions @ references.cpu().numpy()
        spread = float(np.std((labels - offsets) / compositions.sum(1)))
        return cls(scale=_power_of_two(spread), references=references, per_atom=True)

    def to_model(self, labels: Tensor, offsets: Tensor | float = 0.0) -> Tensor:
        """Labels in the model's unit; ``offsets`` are the summed references of each crystal."""
        return (labels - self.shift - offsets) / self.scale

    def fold_into(self, model: Any) -> None:
        """Make the model put out ``scale * output + shift``, through its last linear layer."""
        self._rescale(model, self.scale, self.shift)

    def unfold_from(self, model: Any) -> None:
        """The reverse, for a readout that is kept."""
        self._rescale(model, 1.0 / self.scale, -self.shift / self.scale)

    @staticmethod
    def _rescale(model: Any, factor: float, offset: float) -> None:
        layer: nn.Linear = architecture_of(model).last_linear(model)
        with torch.no_grad():
            layer.weight.copy_(in_float64(layer.weight) * factor)
            layer.bias.copy_(in_float64(layer.bias) * factor + offset)


def transformed(labels: np.ndarray, transform: str | None, ids: list[str]) -> np.ndarray:
    """Labels as the model is trained on them.

    Raises:
        DataError: If the logarithm of a label does not exist.
    """
    if transform is None:
        return labels
    bad = [f"{i} ({y:g})" for i, y in zip(ids, labels, strict=True) if y <= 0]
    if bad:
        raise DataError(
            f"--transform log10 needs positive labels; {len(bad)} are not: {', '.join(bad[:5])}. Remove them, or train "
            "on the target itself."
        )
    return np.log10(labels)


def _nonzero(value: float) -> float:
    return value if value > 0 else 1.0


def _power_of_two(value: float) -> float:
    return 2.0 ** round(float(np.log2(_nonzero(value))))
