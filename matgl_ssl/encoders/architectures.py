"""What differs between MatGL's architectures, and nothing else. A further one is one more ``Architecture`` here.

All of it comes from modules that both backends name alike, so neither PyG nor DGL appears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matgl
import torch
from matgl import models
from matgl.utils.maths import decompose_tensor, tensor_norm
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from matgl_ssl import registry
from matgl_ssl._backend import BACKEND
from matgl_ssl.errors import ConfigError, ModelError, unknown


def _one_each(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


@dataclass(frozen=True)
class Tap:
    """Where features are taken.

    Attributes:
        module: A submodule that runs once in a pass.
        layer: The layer to which its output belongs.
        kinds: What its output holds, in order: ``node``, ``edge`` and ``state`` vectors.
        read: Makes as many tensors out of the output; by default the output is one tensor or a tuple of them.
    """

    module: nn.Module
    layer: int
    kinds: tuple[str, ...]
    read: Callable[[Any], tuple[Any, ...]] = _one_each


@dataclass(frozen=True)
class Architecture:
    """Where a MatGL architecture keeps what pretraining needs. Modules are named by their path in the model.

    Attributes:
        name: Name of the class, under which users ask for it.
        cls: The class: one of MatGL's, or built like them (saved and built again by its arguments in ``_init_args``).
        n_layers: Number of layers of a model. Layer k sees k layers of neighbours.
        taps: Where node, edge and state vectors of each layer come out. All layers have node vectors, and layer 0
            has edge vectors; the others are None where the architecture has none.
        element_embedding: The ``nn.Embedding`` of the elements, through which alone the model knows them.
        layer_modules: The submodules of layer k of n, from 0 (embedding) on. An earlier layer takes precedence.
        readout_modules: The submodules that turn features into the output.
        head_modules: Those of them that come after the crystal's vector.
        readout_head: The module whose input is the crystal's vector, None if the output is a sum over atoms.
        last_linear: The linear layer that puts out the (unscaled) prediction.
        intensive: Constructor arguments that make the output one intensive number.
        extensive: Constructor arguments that make it one sum over atoms; None where it cannot be.
        state_labels: Number of state labels that a model was made for, 0 for a model without.
        state_dim: Length of the state of a crystal in a model without labels.
        many_body_cutoff: Length in Å up to which edges count in terms of more than two atoms, which see directions.
        hide_directions: Registers a hook that hides the directions of marked edges, ``(E,)`` bool, where terms of two
            atoms see them, too.
        finish: What remains to be done to a new model.
        acceleration: Module with the faster code of ``accelerate``, if there is any (PyG): ``FASTER``, ``VARIANTS``.
        backends: The backends that have the architecture.
    """

    name: str
    cls: type[nn.Module]
    n_layers: Callable[[Any], int]
    taps: Callable[[Any], list[Tap]]
    element_embedding: str
    layer_modules: Callable[[int, int], tuple[str, ...]]
    readout_modules: tuple[str, ...]
    head_modules: tuple[str, ...]
    readout_head: Callable[[Any], nn.Module | None]
    last_linear: Callable[[Any], nn.Linear]
    intensive: Mapping[str, Any]
    extensive: Mapping[str, Any] | None = None
    state_labels: Callable[[Any], int] = lambda model: 0
    state_dim: Callable[[Any], int] = lambda model: 2
    many_body_cutoff: Callable[[Any], float] = lambda model: 0.0
    hide_directions: Callable[[Any, Tensor], RemovableHandle] | None = None
    finish: Callable[[Any], object] = lambda model: None
    acceleration: str | None = None
    backends: tuple[str, ...] = ("pyg", "dgl")

    def embedding_module(self) -> str:
        """The module of layer 0 that is, or holds, the element embedding."""
        return next(m for m in self.layer_modules(0, 1) if f"{self.element_embedding}.".startswith(f"{m}."))


def _state_labels(model: Any) -> int:
    return model.embedding.ntypes_state or 0


def _state_dim(model: Any) -> int:
    return model.embedding.dim_state_embedding or 2


def _block_taps(blocks: Any) -> list[Tap]:
    return [Tap(block, k, ("edge", "node", "state")) for k, block in enumerate(blocks, start=1)]


def _redraw_in_order(model: Any) -> None:
    """MatGL 2.2 builds M3GNet's blocks from a set, in the order of their addresses: draw their weights again."""
    if BACKEND == "dgl":
        for module in (*model.three_body_interactions.modules(), *model.graph_layers.modules()):
            if isinstance(module, nn.Linear):
                module.reset_parameters()


_FINAL_LAYER: dict[str, Any] = {
    "head_modules": ("final_layer",),
    "readout_head": lambda model: model.final_layer if model.is_intensive else None,
    "last_linear": lambda m: m.final_layer.last_linear if m.is_intensive else m.final_layer.gated.layers[-1],
    "intensive": {"is_intensive": True, "task_type": "regression", "ntargets": 1},
    "extensive": {"is_intensive": False, "task_type": "regression", "ntargets": 1},
}

M3GNET = Architecture(
    name="M3GNet",
    cls=models.M3GNet,
    n_layers=lambda model: len(model.graph_layers),
    taps=lambda model: [Tap(model.embedding, 0, ("node", "edge", "state")), *_block_taps(model.graph_layers)],
    element_embedding="embedding.layer_node_embedding",
    layer_modules=lambda k, n: (
        (f"three_body_interactions.{k - 1}", f"graph_layers.{k - 1}")
        if k
        else ("bond_expansion", "embedding", "basis_expansion")
    ),
    readout_modules=("readout", "final_layer"),
    **_FINAL_LAYER,
    state_labels=_state_labels,
    state_dim=_state_dim,
    many_body_cutoff=lambda model: model.threebody_cutoff,
    finish=_redraw_in_order,
    acceleration="matgl_ssl.acceleration.m3gnet",
)

MEGNET = Architecture(
    name="MEGNet",
    cls=models.MEGNet,
    n_layers=lambda model: len(model.blocks),
    taps=lambda model: [
        Tap(model.node_encoder, 0, ("node",)),
        Tap(model.edge_encoder, 0, ("edge",)),
        Tap(model.state_encoder, 0, ("state",)),
        *_block_taps(model.blocks),
    ],
    element_embedding="embedding.layer_node_embedding",
    layer_modules=lambda k, n: (
        (f"blocks.{k - 1}",) if k else ("bond_expansion", "embedding", "edge_encoder", "node_encoder", "state_encoder")
    ),
    readout_modules=("edge_s2s", "node_s2s", "output_proj"),
    head_modules=("output_proj",),
    readout_head=lambda model: model.output_proj,
    last_linear=lambda model: model.output_proj.last_linear,
    intensive={"is_classification": False},
    state_labels=_state_labels,
    state_dim=_state_dim,
    acceleration="matgl_ssl.acceleration.megnet",
)


def _tensornet_taps(model: Any) -> list[Tap]:
    def invariants(output: Any) -> tuple[Tensor]:
        """Norms of a tensor's three irreducible parts, ``(N, 3 * units)``, as TensorNet's own readout takes them."""
        tensors = _one_each(output)[0]
        if model._use_warp:  # nvalchemi's kernels keep the units last
            tensors = tensors.movedim(-1, 1)
        norms = torch.cat([tensor_norm(part) for part in decompose_tensor(tensors)], dim=-1)
        return (functional.layer_norm(norms, norms.shape[-1:]),)

    passes = (model.tensor_embedding, *model.layers)
    return [
        Tap(model.tensor_embedding.emb, 0, ("node",)),
        Tap(model.bond_expansion, 0, ("edge",)),
        *(Tap(module, k, ("node",), invariants) for k, module in enumerate(passes[:-1], start=1)),
        Tap(model.linear, len(passes), ("node",)),
    ]


def _tensornet_modules(k: int, n_layers: int) -> tuple[str, ...]:
    """The tensor embedding sums messages of neighbours: all of it but the elements' own vectors is layer 1."""
    first = ("bond_expansion", "tensor_embedding.emb"), ("tensor_embedding",)
    modules = first[k] if k < 2 else (f"layers.{k - 2}",)
    return (*modules, "out_norm", "linear") if k == n_layers else modules


def _tensornet_hide_directions(model: Any, hidden: Tensor) -> RemovableHandle:
    """Where the embedding gets no direction, an edge gives it a scalar; later layers read none."""
    position = 3 if model._use_warp else 4

    def hide(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*args[:position], args[position].masked_fill(hidden[:, None], 0.0), *args[position + 1 :])

    return model.tensor_embedding.register_forward_pre_hook(hide)


TENSORNET = Architecture(
    name="TensorNet",
    cls=models.TensorNet,
    n_layers=lambda model: 1 + len(model.layers),
    taps=_tensornet_taps,
    element_embedding="tensor_embedding.emb",
    layer_modules=_tensornet_modules,
    readout_modules=("readout", "final_layer"),
    **_FINAL_LAYER,
    hide_directions=_tensornet_hide_directions,
    finish=lambda model: model.to(matgl.float_th),  # its parts' own default was bound when MatGL was imported
    backends=("pyg",),
)

ARCHITECTURES: Mapping[str, Architecture] = registry.Registered("architectures")
"""Ours above and those of other packages, by the name of MatGL's class."""


def find_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        ConfigError: If there is none of that name, or not in this backend.
    """
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    if BACKEND not in ARCHITECTURES[name].backends:
        raise ConfigError(f"{name} is not available with MatGL on {BACKEND.upper()}: {_INSTALL[BACKEND]}.")
    return ARCHITECTURES[name]


_INSTALL = {
    "dgl": "use an environment with MatGL >= 4.1 (pip install matgl_ssl)",
    "pyg": "use an environment with MatGL 2.2 (pip install 'matgl_ssl[dgl]', Python <= 3.11)",
}


def recognise(model: Any) -> Architecture | None:
    """The architecture of a bare model, None for other models."""
    by_class = {a.cls: a for a in ARCHITECTURES.values() if BACKEND in a.backends}
    for cls in type(model).__mro__:
        if cls in by_class:
            return by_class[cls]
        if vars(models).get(cls.__name__) is cls:  # another of MatGL's: a QET is a TensorNet, but for its readout
            return None
    return None


def architecture_of(model: Any) -> Architecture:
    """The architecture of a bare model.

    Raises:
        ModelError: If the model is of another class.
    """
    if (architecture := recognise(model)) is None:
        known = ", ".join(a.name for a in ARCHITECTURES.values() if BACKEND in a.backends)
        raise ModelError(f"{type(model).__name__} is not an encoder matgl_ssl knows: {known}.")
    return architecture


def is_extensive(model: Any) -> bool:
    """Whether the model's output is a sum over atoms."""
    return not getattr(model, "is_intensive", True)


def is_classifier(model: Any) -> bool:
    """Whether the model's output is the probability of a class."""
    return getattr(model, "task_type", "") == "classification" or getattr(model, "is_classification", False)


def bare_model(model: Any) -> Any:
    """The MatGL model inside a ``Potential`` or a ``TransformedTargetModel``, or the model itself."""
    while recognise(model) is None and hasattr(model, "model"):
        model = model.model
    return model


def release(model: Any) -> None:
    """Let go of the features of the last pass: MatGL >= 4 keeps them on the model, and the autograd graph with them."""
    if hasattr(model, "feature_dict"):
        model.feature_dict = {}


def layer_of_parameter(architecture: Architecture, n_layers: int, name: str) -> int:
    """The layer a parameter belongs to; ``n_layers + 1`` for the readout."""
    for layer in range(n_layers + 1):
        if any(name.startswith(f"{module}.") for module in architecture.layer_modules(layer, n_layers)):
            return layer
    return n_layers + 1
