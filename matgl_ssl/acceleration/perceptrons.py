"""MatGL's perceptrons, all layers in one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from matgl.layers import MLP, GatedMLP
from matgl.layers._activations import SoftPlus2
from torch import Tensor, nn

from .fast_class import FastClass
from .rows import Rows, Value

_KINDS: dict[type, str] = {SoftPlus2: "softplus2", nn.SiLU: "silu", nn.Sigmoid: "sigmoid"}


_FEW = 256
"""Rows for which calling torch's layers takes less time than preparing a pass."""


def are_known(layers: Iterable[nn.Module]) -> bool:
    """Whether they are linear layers and activations that ``after`` can take."""
    return all(type(layer) is nn.Linear or type(layer) in _KINDS for layer in layers)


def after(value: Value, layers: Iterable[Any]) -> Value:
    """What comes out of the layers."""
    for layer in layers:
        kind = _KINDS.get(type(layer))
        value = value.linear(layer.weight, layer.bias) if kind is None else value.activate(kind)
    return value


def times(value: Value, counts: Tensor | None, layers: Iterable[Any]) -> Value:
    """What comes out of the layers, each row so many times: ``(E, 1)``; None for once."""
    if counts is None:
        return value
    *_, last = (layer for layer in layers if isinstance(layer, nn.Linear))
    return value * value.rows.rows(counts).linear(counts.new_ones(last.out_features, 1))


class FastMLP(FastClass, MLP):
    """MatGL's ``MLP``, all layers in one pass."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether its layers are known."""
        return are_known(module.layers)

    def forward(self, inputs: Tensor | Callable[[Any], Tensor]) -> Tensor:
        """Apply all layers, as MatGL's method does.

        Args:
            inputs: Rows, ``(M, d)``. It may also be a function that computes the output from the layers. ``FastMEGNet``
                encodes edges together with their Gaussians that way, and hooks on this module are still called.
        """
        if callable(inputs):
            return inputs(self.layers)
        if inputs.dim() != 2 or len(inputs) < _FEW:
            return super().forward(inputs)
        rows = Rows()
        return rows.compute(after(rows.rows(inputs), self.layers))[0]


class FastGatedMLP(FastClass, GatedMLP):
    """MatGL's ``GatedMLP``, layers and gates in one pass."""

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether its layers are known."""
        return are_known((*module.layers, *module.gates))

    def forward(self, inputs: Tensor) -> Tensor:
        """As MatGL's."""
        if inputs.dim() != 2 or len(inputs) < _FEW:
            return super().forward(inputs)
        rows = Rows()
        x = rows.rows(inputs)
        return rows.compute(after(x, self.layers) * after(x, self.gates))[0]


PERCEPTRONS = (FastMLP, FastGatedMLP)
