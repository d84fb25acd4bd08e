"""Linear heads that predict from an encoder's crystal vector what pretraining taught it; they are kept in its stamp.

A pretext's own heads are perceptrons that nobody needs after pretraining. A linear map of the vector can be held by the
readout of any of MatGL's models, so that fine-tuning can begin from it (``training.line``), and is small.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgl_ssl.errors import ModelError

KEY = "linear_heads"
"""Where they are in a stamp."""

_STRENGTH = 1e-4
"""Ridge penalty, in units of the vector's mean variance: the components of a vector are nearly dependent."""


@dataclass(frozen=True, eq=False)
class LinearHeads:
    """Quantities as linear functions of the crystal vector, in standard deviations of the training crystals.

    Attributes:
        names: Target and column of each quantity: ``"density/0"``.
        weight: Shape ``(k, d)``, float32.
        bias: Shape ``(k,)``, float32.
        explained: Share of each quantity's variance that its line explains on crystals that it was not fitted to.
    """

    names: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    explained: tuple[float, ...]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """What they say of vectors ``(n, d)``: ``(n, k)``, float64."""
        return vectors.astype(float) @ self.weight.T.astype(float) + self.bias

    def as_json(self) -> dict[str, Any]:
        """What a stamp holds: names, and the float32 numbers of ``[weight, bias]`` in base64, little-endian."""
        numbers = np.column_stack([self.weight, self.bias]).astype("<f4")
        return {
            "names": list(self.names), "explained": [round(share, 4) for share in self.explained],
            "numbers": base64.b64encode(numbers.tobytes()).decode(),
        }  # fmt: skip


def fit_heads(names: Sequence[str], vectors: np.ndarray, values: np.ndarray) -> LinearHeads:
    """The least-squares lines from vectors to quantities.

    Args:
        names: Of the quantities.
        vectors: Crystal vectors, shape ``(n, d)``.
        values: Standardised quantities, shape ``(n, k)``, NaN where there is none.

    Returns:
        Heads of the quantities that at least ten crystals have.
    """
    kept = [i for i in range(values.shape[1]) if np.isfinite(values[:, i]).sum() >= 10]
    lines, explained = [], []
    for i in kept:
        rows = np.flatnonzero(np.isfinite(values[:, i]))
        fitted, held_out = np.split(rows, [len(rows) - len(rows) // 5])
        line = _line(vectors[fitted], values[fitted, i])
        error = vectors[held_out] @ line[:-1] + line[-1] - values[held_out, i]
        spread = values[held_out, i] - values[fitted, i].mean()
        explained.append(float(1 - (error**2).sum() / max((spread**2).sum(), 1e-12)))
        lines.append(_line(vectors[rows], values[rows, i]))
    numbers = np.array(lines, np.float32).reshape(len(kept), vectors.shape[1] + 1)
    return LinearHeads(tuple(names[i] for i in kept), numbers[:, :-1], numbers[:, -1], tuple(explained))


def heads_of(stamp: Mapping[str, Any]) -> LinearHeads | None:
    """The heads in a stamp; None if it has none.

    Raises:
        ModelError: If there are as many numbers as no vector has.
    """
    if not (held := stamp.get(KEY)):
        return None
    try:
        names = tuple(map(str, held["names"]))
        numbers = np.frombuffer(base64.b64decode(held["numbers"], validate=True), "<f4").reshape(len(names), -1)
        shares = tuple(map(float, held["explained"]))
    except (KeyError, TypeError, ValueError) as err:
        raise ModelError(f"The linear heads in the stamp of model.json are damaged: {err}. Export it again.") from err
    return LinearHeads(names, numbers[:, :-1], numbers[:, -1], shares)


def _line(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes and intercept, shape ``(d + 1,)``."""
    mean, level = vectors.mean(axis=0), values.mean()
    centred = vectors - mean
    products = centred.T @ centred
    penalty = _STRENGTH * max(float(np.trace(products)) / len(products), 1e-12)
    slopes = np.linalg.solve(products + penalty * np.eye(len(products)), centred.T @ (values - level))
    return np.append(slopes, level - mean @ slopes)
