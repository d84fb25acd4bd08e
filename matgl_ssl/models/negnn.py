"""NEGNN: a graph network whose node embedding takes in the frozen representation of a pretrained encoder.

After the node-embedding GNN of Kong et al., Mach. Learn.: Sci. Technol. 5, 035018 (2024), arXiv 2211.03563. Their code
for this half and how exactly the representation enters are not published: what stands here is our reading of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from numbers import Integral
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from matgl_ssl.backends import MASK, REPRESENTATION, CrystalBatch
from matgl_ssl.encoders import (
    ARCHITECTURES,
    BatchReader,
    Encoder,
    architecture_of,
    bare_model,
    find_architecture,
    tapped,
)
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import copy_model

Mode = Literal["concat", "replace", "add"]


class NEGNN(BatchReader, nn.Module):
    """What makes a MatGL model a NEGNN: ``M3GNetNEGNN`` and the like are made with it, by ``build_negnn``.

    An atom's embedding, before any message passing, is made of ``Emb(Z)``, MatGL's own, and of ``s``, the vectors that
    a frozen encoder gives the atom at the layers ``layers``, one after the other:

    - ``concat``: ``Linear([Emb(Z) | s])``
    - ``replace``: ``Linear(s)``; ``Emb(Z)`` is there, as MatGL makes it, but frozen and without effect
    - ``add``: ``Emb(Z) + Linear(s)``

    It is a plain model in all else, saved and loaded with the encoder inside. The encoder is never trained and always
    in eval mode. It runs on the graph that the model is given, so forces go through it, too, unless its vectors come
    with the batch (``REPRESENTATION``). Both must have the same elements and cutoff. In M3GNet the range is that of the
    deepest of ``layers`` and the model's own together.

    Args:
        encoder: The encoder whose representation is taken in: a plain model, copied; or a mapping with its ``@class``
            and ``init_args``, as MatGL saves models inside of models.
        layers: Layers of the representation.
        mode: How it enters.
        **arguments: Those of the MatGL model; ``element_types`` and ``cutoff`` are the encoder's unless given.

    Raises:
        ConfigError: If a layer or mode does not exist, or elements or cutoff are not the encoder's.
        ModelError: If the encoder is of another class or takes state labels.
    """

    frozen: nn.Module
    save_args: Any

    def __init__(self, encoder: Any, layers: Sequence[int] = (0, 1), mode: Mode = "concat", **arguments: Any) -> None:
        frozen = _plain(encoder)
        layers = _checked(frozen, layers, mode, arguments)
        shared: dict[str, Any] = {"element_types": tuple(frozen.element_types), "cutoff": frozen.cutoff}
        arguments = {**shared, **arguments}
        super().__init__(**arguments)
        self.represented, self.mode = layers, mode
        self.frozen = frozen.requires_grad_(False).eval()
        self.save_args({"encoder": frozen, "layers": layers, "mode": mode}, arguments)
        own: Any = self.get_submodule(architecture_of(self).element_embedding)
        if mode == "replace":
            own.requires_grad_(False)
        width = _width(frozen, layers) + (own.embedding_dim if mode == "concat" else 0)
        # Inside the embedding, so that it counts as layer 0 wherever layers are frozen or slowed down.
        embedding = self.get_submodule(architecture_of(self).embedding_module())
        embedding.layer_representation = nn.Linear(width, own.embedding_dim)
        self._given: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen encoder."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, g: Any, state_attr: Tensor | None = None, **kwargs: Any) -> Any:
        """Run the model on a native graph, as its MatGL class does."""
        vectors = self.represent(g, state_attr) if self._given is None else self._given
        own = self.get_submodule(architecture_of(self).element_embedding)
        # Before other hooks, which are to find what goes into the model.
        handle = own.register_forward_hook(lambda _, __, embedded: self._mixed(embedded, vectors), prepend=True)
        try:
            return super().forward(g=g, state_attr=state_attr, **kwargs)
        finally:
            handle.remove()

    def represent(self, g: Any, state_attr: Tensor | None = None) -> Tensor:
        """The frozen encoder's vectors of the atoms of a native graph, ``(N, d)``."""
        # DGL's models write on the graph they read; PyG's do not.
        with tapped(self.frozen) as taken, getattr(g, "local_scope", nullcontext)():
            self.frozen(g=g, state_attr=state_attr)
        return torch.cat([taken["node"][layer] for layer in self.represented], dim=1)

    @contextmanager
    def reading(self, batch: CrystalBatch, *, differentiated: bool) -> Iterator[None]:
        """Take the batch's ``REPRESENTATION`` instead of running the frozen encoder, unless that needs derivatives.

        Raises:
            ModelError: If elements are hidden, which the frozen encoder sees.
        """
        if MASK in batch.atom:
            raise ModelError(
                "A NEGNN's frozen encoder sees atoms that should be hidden: pretrain that encoder instead."
            )
        self._given = None if differentiated else batch.atom.get(REPRESENTATION)
        try:
            yield
        finally:
            self._given = None

    def _mixed(self, embedded: Tensor, vectors: Tensor) -> Tensor:
        linear: Any = self.get_submodule(f"{architecture_of(self).embedding_module()}.layer_representation")
        if self.mode == "concat":
            return linear(torch.cat([embedded, vectors], dim=1))
        return linear(vectors) if self.mode == "replace" else embedded + linear(vectors)


@cache
def negnn_class(name: str) -> type[NEGNN]:
    """The class, ``M3GNetNEGNN`` for instance, of an architecture's NEGNNs. MatGL finds it in this module by its name.

    Raises:
        ConfigError: If there is no such architecture.
    """
    about = {"__module__": __name__, "__version__": 1, "__doc__": f"A NEGNN that is a {name} in all else."}
    return type(f"{name}NEGNN", (NEGNN, find_architecture(name).cls), about)


def __getattr__(name: str) -> Any:
    if name.removesuffix("NEGNN") in ARCHITECTURES and name.endswith("NEGNN"):
        return negnn_class(name.removesuffix("NEGNN"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_negnn(model: Any, encoder: Any, *, layers: Sequence[int] = (0, 1), mode: Mode = "concat") -> Any:
    """The NEGNN that a model becomes when its node embedding takes in an encoder's representation.

    Args:
        model: A bare plain model, whose weights it gets; left as it is.
        encoder: The encoder; left as it is. With random weights it is the control for what pretraining adds.
        layers: Layers of the representation; ``(0,)`` is the control for what its surroundings add.
        mode: ``concat``, ``replace`` or ``add`` (see ``NEGNN``).

    Returns:
        An ``M3GNetNEGNN``, or the like of another architecture.
    """
    cls: Any = negnn_class(_name(model))
    shared = {"element_types": tuple(model.element_types), "cutoff": model.cutoff}
    negnn = cls(encoder, layers, mode, **{**model._init_args, **shared})
    negnn.load_state_dict(model.state_dict(), strict=False)
    return negnn.to(next(model.parameters())).train(model.training)


def _name(model: Any) -> str:
    """Of a plain model's architecture."""
    for name, architecture in ARCHITECTURES.items():
        if isinstance(model, architecture.cls) and not isinstance(model, NEGNN):
            return name
    raise ModelError(f"A NEGNN is made of plain models, {' or '.join(ARCHITECTURES)}, not of {type(model).__name__}.")


def _plain(encoder: Any) -> Any:
    if isinstance(encoder, Mapping):
        name = str(encoder.get("@class"))
        if name not in ARCHITECTURES:
            raise ModelError(f"A NEGNN's encoder is a plain {' or '.join(ARCHITECTURES)}, not {name}.")
        return ARCHITECTURES[name].cls(**encoder["init_args"])
    bare = bare_model(encoder.model if isinstance(encoder, Encoder) else encoder)
    _name(bare)
    return copy_model(bare)


def _checked(frozen: Any, layers: Sequence[int], mode: str, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    known = range(Encoder(frozen).n_layers + 1)
    layers = tuple(int(layer) if isinstance(layer, Integral) else layer for layer in layers)  # numpy's numbers, too
    for layer in layers or ("nothing",):
        if not (isinstance(layer, int) and layer in known):
            raise ConfigError(
                f"No layer {layer!r}: a representation is taken at layers {', '.join(map(str, known))} of its encoder."
            )
    if mode not in get_args(Mode):
        raise ConfigError(f"A representation enters by {', '.join(get_args(Mode))}, not {mode!r}.")
    if architecture_of(frozen).state_labels(frozen) or arguments.get("ntypes_state"):
        raise ModelError("A NEGNN is made of models without state labels (ntypes_state).")
    elements = tuple(arguments.get("element_types") or frozen.element_types)
    if elements != tuple(frozen.element_types):
        raise ConfigError(
            "element_types must be the encoder's, in its order: both read the same graph. Leave them out."
        )
    if (cutoff := arguments.get("cutoff", frozen.cutoff)) != frozen.cutoff:
        raise ConfigError(
            f"The cutoff must be the encoder's, {frozen.cutoff} Å, not {cutoff} Å: both read the same graph. "
            "Leave it out."
        )
    return layers


def _width(frozen: Any, layers: Sequence[int]) -> int:
    """Length of the representation, from a pass over a minimal crystal."""
    if next(frozen.parameters()).is_meta:  # it is built to be counted (hub.limits), and was; a pass needs content
        with torch.device("cpu"):
            return _width(type(frozen)(**frozen._init_args), layers)
    return sum(Encoder(frozen).node_dims[layer] for layer in layers)
