"""What differs between MatGL's architectures, and nothing else.

Everything here is read off modules that both backends name alike, so neither PyG nor DGL appears. A further
architecture (CHGNet, TensorNet, SO3Net) is one more ``Architecture`` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matgl import models
from torch import nn

from matgl_ssl.errors import ModelError

Tap = tuple[nn.Module, int, tuple[str, ...]]
"""A module, the layer its output belongs to, and which features that output holds, in order."""


@dataclass(frozen=True)
class Architecture:
    """Where a MatGL architecture keeps what pretraining needs.

    Attributes:
        name: MatGL's class name.
        cls: MatGL's class.
        n_layers: Number of message-passing blocks of a model.
        taps: Which modules put out node, edge and state features.
        layer_modules: Names of the submodules of each layer, 0 (embedding) to ``n_layers``.
        readout_modules: Names of the submodules that turn features into the output.
        head_modules: Those of them that come after the crystal's vector.
        readout_head: The module whose input is the crystal's vector, None if the output is a sum over atoms.
        last_linear: The linear layer that puts out the (unscaled) prediction.
        energy_arguments: Constructor arguments that make the output a sum over atoms; None where it cannot be.
    """

    name: str
    cls: type[nn.Module]
    n_layers: Callable[[Any], int]
    taps: Callable[[Any], list[Tap]]
    layer_modules: Callable[[int], tuple[str, ...]]
    readout_modules: tuple[str, ...]
    head_modules: tuple[str, ...]
    readout_head: Callable[[Any], nn.Module | None]
    last_linear: Callable[[Any], nn.Linear]
    energy_arguments: Mapping[str, Any] | None


def _m3gnet_taps(model: Any) -> list[Tap]:
    blocks = [(block, k, ("edge", "node", "state")) for k, block in enumerate(model.graph_layers, start=1)]
    return [(model.embedding, 0, ("node", "edge", "state")), *blocks]


def _megnet_taps(model: Any) -> list[Tap]:
    encoders = {"node": model.node_encoder, "edge": model.edge_encoder, "state": model.state_encoder}
    blocks = [(block, k, ("edge", "node", "state")) for k, block in enumerate(model.blocks, start=1)]
    return [*((module, 0, (kind,)) for kind, module in encoders.items()), *blocks]


M3GNET = Architecture(
    name="M3GNet",
    cls=models.M3GNet,
    n_layers=lambda model: len(model.graph_layers),
    taps=_m3gnet_taps,
    layer_modules=lambda k: (
        (f"three_body_interactions.{k - 1}", f"graph_layers.{k - 1}")
        if k
        else ("bond_expansion", "embedding", "basis_expansion")
    ),
    readout_modules=("readout", "final_layer"),
    head_modules=("final_layer",),
    readout_head=lambda model: model.final_layer if model.is_intensive else None,
    last_linear=lambda m: m.final_layer.last_linear if m.is_intensive else m.final_layer.gated.layers[-1],
    energy_arguments={"is_intensive": False},
)

MEGNET = Architecture(
    name="MEGNet",
    cls=models.MEGNet,
    n_layers=lambda model: len(model.blocks),
    taps=_megnet_taps,
    layer_modules=lambda k: (
        (f"blocks.{k - 1}",) if k else ("bond_expansion", "embedding", "edge_encoder", "node_encoder", "state_encoder")
    ),
    readout_modules=("edge_s2s", "node_s2s", "output_proj"),
    head_modules=("output_proj",),
    readout_head=lambda model: model.output_proj,
    last_linear=lambda model: model.output_proj.last_linear,
    energy_arguments=None,
)

ARCHITECTURES: dict[str, Architecture] = {a.name: a for a in (M3GNET, MEGNET)}


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture of a bare MatGL model.

    Raises:
        ModelError: If the model is of another class.
    """
    for architecture in ARCHITECTURES.values():
        if isinstance(model, architecture.cls):
            return architecture
    raise ModelError(f"{type(model).__name__} is not an encoder matgl_ssl knows: {', '.join(ARCHITECTURES)}.")


def is_extensive(model: Any) -> bool:
    """Whether the model's output is a sum over atoms."""
    return not getattr(model, "is_intensive", True)


def bare_model(model: Any) -> Any:
    """The MatGL model inside a ``Potential`` or a ``TransformedTargetModel``, or the model itself."""
    while not isinstance(model, tuple(a.cls for a in ARCHITECTURES.values())) and hasattr(model, "model"):
        model = model.model
    return model


def layer_of_parameter(architecture: Architecture, n_layers: int, name: str) -> int:
    """The layer a parameter belongs to; ``n_layers + 1`` for the readout."""
    for layer in range(n_layers + 1):
        if any(name.startswith(f"{module}.") for module in architecture.layer_modules(layer)):
            return layer
    return n_layers + 1
