"""The small networks between the encoder's vectors and a pretext's loss."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def perceptron(*sizes: int, activation: type[nn.Module] = nn.Softplus) -> nn.Sequential:
    """Linear layers with an activation between them; the identity for a single size."""
    layers = [layer for a, b in pairwise(sizes) for layer in (activation(), nn.Linear(a, b))]
    return nn.Sequential(*layers[1:])


def normalised_perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers, each followed by mish and layer normalisation."""
    return nn.Sequential(
        *(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Mish(), nn.LayerNorm(b)))
    )
