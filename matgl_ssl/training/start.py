"""Where fine-tuning starts: which weights, and whether the readout that came with them stays."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from matgl_ssl.columns import unit_of
from matgl_ssl.devices import in_float64
from matgl_ssl.encoders import (
    ARCHITECTURES,
    Architecture,
    architecture_of,
    bare_model,
    find_architecture,
    is_classifier,
    is_extensive,
)
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.hub import copy_model, load_model, load_with_stamp, new_model, read_stamp, shipped_encoder
from matgl_ssl.hub.heads import LinearHeads, heads_of
from matgl_ssl.hub.stamp import OUTPUT, VECTOR
from matgl_ssl.models import build_negnn
from matgl_ssl.recipes import fine_tuning

from .config import FinetuneConfig
from .target import Standardisation

logger = logging.getLogger(__name__)

SCRATCH = "scratch"
"""What ``init_from`` says for random weights."""


def is_scratch(source: Any) -> bool:
    """Whether ``init_from`` asks for random weights (``scratch``, or ``none``), and names no folder."""
    return isinstance(source, str) and source in (SCRATCH, "none") and not Path(source).is_dir()


def unsaid_start(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``finetune`` that hold where nobody says from which weights it starts.

    It is the shipped encoder of the architecture, fine-tuned as its recipe suggests. A model with arguments of its own,
    a NEGNN, and an architecture without a shipped encoder start from random weights.

    Args:
        given: The options that were given.

    Returns:
        ``init_from``, and what the encoder's recipe says; nothing if ``init_from`` was given.
    """
    if given.get("init_from") is not None:
        return {}
    architecture = str(given.get("model") or FinetuneConfig.model_fields["model"].default)
    shipped = shipped_encoder(architecture) if architecture in ARCHITECTURES else None
    if shipped is None or given.get("model_args") or given.get("node_embedding_from"):
        return {"init_from": SCRATCH}
    suited = fine_tuning(read_stamp(shipped)["recipe"])
    own = "".join(f", {name} {value}" for name, value in suited.items() if name not in given)
    logger.info(
        "Fine-tuning starts from %s, which comes with matgl_ssl%s. --init-from scratch starts from random weights.",
        shipped, own,
    )  # fmt: skip
    return {"init_from": shipped, **suited}


@dataclass(frozen=True, eq=False)
class Start:
    """A model about to be fine-tuned.

    Attributes:
        model: A bare MatGL model, nobody else's.
        keep: Whether its readout speaks the target's unit already.
        references: Offset of each element that it came with, shape ``(n_elements,)``.
        heads: What its crystal vector was taught, where the layers after that vector are fresh and start as a line.
    """

    model: Any
    keep: bool = False
    references: Tensor | None = None
    heads: LinearHeads | None = None


def start(config: FinetuneConfig, init_from: Any = None, node_embedding_from: Any = None) -> Start:
    """Build or load the model.

    ``readout="auto"`` keeps a readout that was trained for this target (by its stamp; a foreign model's is taken to
    be). Of one whose crystal vector was trained (by a pretext) only the layers after it start fresh; of one whose
    output was (by its derivatives) none does, as in Jia et al.'s code; of others all do.

    Args:
        config: The configuration.
        init_from: What to load: anything ``load_model`` takes; None or ``"scratch"`` for random weights.
        node_embedding_from: The encoder that makes the new model a NEGNN, likewise.

    Raises:
        ModelError: If the model cannot predict such a target, or its readout cannot be kept.
        ConfigError: If ``model_args`` contradict the target, or a resumed run lacks what it was started from.
    """
    for name, source in (("init_from", init_from), ("node_embedding_from", node_embedding_from)):
        if isinstance(source, str) and source.startswith("in memory"):
            raise ConfigError(f"This run was started from a model {source}: resume it in Python, with the same {name}.")
    if init_from is None or is_scratch(init_from):
        return Start(_new(config, node_embedding_from))
    if node_embedding_from is not None:
        raise ConfigError(
            "--node-embedding-from makes a new model: leave out --init-from. To train a NEGNN further, give it to "
            "--init-from alone."
        )
    # A run that trained energies exports them as a potential beside the encoder, whose readout is fresh.
    energies = config.extensive and (config.unit or unit_of(config.target)) == "eV"
    exports = ("potential", "encoder", "model") if energies else ("encoder", "model", "potential")
    loaded, stamp = load_with_stamp(init_from, trained_with=config.trained_with, prefer=exports)
    model = bare_model(loaded)
    obstacle = _obstacle(model, stamp, config)
    if config.readout == "keep" and obstacle:
        raise ModelError(f"--readout keep: {obstacle}. Use --readout fresh.")
    if config.readout == "keep" or (config.readout == "auto" and not obstacle):
        return _kept(loaded)
    architecture = architecture_of(model)
    arguments, fresh = _readout_arguments(architecture, config), _fresh(model, stamp, config)
    heads = _heads(stamp, fresh == architecture.head_modules, config)
    return Start(copy_model(model, fresh=fresh, **arguments), heads=heads)


def _new(config: FinetuneConfig, node_embedding_from: Any) -> nn.Module:
    """A model with random weights; a NEGNN if there is an encoder for its node embedding."""
    arguments = _readout_arguments(find_architecture(config.model), config)
    for name in arguments.keys() & config.model_args.keys():
        if config.model_args[name] != arguments[name]:
            raise ConfigError(
                f"model_args: {name} must be {arguments[name]!r} for this target, not {config.model_args[name]!r}. "
                "Leave it out; --extensive says whether the target is a sum over atoms."
            )
    if node_embedding_from is None:
        return new_model(config.model, {**arguments, **config.model_args})
    loaded = load_model(node_embedding_from, trained_with=config.trained_with, prefer=("encoder", "model", "potential"))
    encoder = bare_model(loaded)
    shared = {"element_types": tuple(encoder.element_types), "cutoff": encoder.cutoff}
    return build_negnn(
        new_model(config.model, {**shared, **arguments, **config.model_args}), encoder,
        layers=config.node_embedding_layers, mode=config.node_embedding_mode,
    )  # fmt: skip


def _fresh(model: Any, stamp: dict[str, Any], config: FinetuneConfig) -> tuple[str, ...]:
    """The modules of the readout that start fresh."""
    architecture, trained = architecture_of(model), stamp.get("readout")
    if config.readout == "fresh" or (config.readout == "auto" and trained not in (VECTOR, OUTPUT)):
        return architecture.readout_modules
    if not (is_extensive(model) or config.extensive):
        return () if trained == OUTPUT else architecture.head_modules
    if config.readout == "auto":
        return architecture.readout_modules
    summed = f"the output of {config.init_from}" if is_extensive(model) else "the target"
    raise ModelError(f"--readout carry: {summed} is a sum over atoms: there is no crystal vector. Use --readout fresh.")


def _heads(stamp: dict[str, Any], carried: bool, config: FinetuneConfig) -> LinearHeads | None:
    """What a fresh readout starts as a line along; None for random weights."""
    if config.readout_start == "random":
        return None
    heads = heads_of(stamp) if carried else None
    if heads is None and config.readout_start == "line":
        raise ConfigError(
            f"--readout-start line: {config.init_from} has no linear heads, or their vector is not carried "
            "over. Encoders of recipe textbook have them. Use --readout-start random."
        )
    return heads


def _obstacle(model: nn.Module, stamp: dict[str, Any], config: FinetuneConfig) -> str | None:
    """Why the readout should not be kept; None if it can."""
    if stamp.get("readout", "trained") != "trained":
        return f"the readout of {config.init_from} is {stamp['readout']}, not trained on labels"
    if config.extensive != is_extensive(model):
        kinds = ("intensive", "a sum over atoms")
        output, wanted = kinds[is_extensive(model)], kinds[config.extensive]
        return f"the output of {config.init_from} is {output}, and the target is {wanted}"
    if is_classifier(model) or architecture_of(model).last_linear(model).out_features != 1:
        return f"the readout of {config.init_from} does not put out one number"
    target = stamp.get("target")
    if target and (target["name"], target["transform"]) != (config.target, config.transform):
        trained = f"{target['transform']} of {target['name']}" if target["transform"] else target["name"]
        return f"the readout of {config.init_from} was trained on {trained}"
    return None


def _kept(loaded: Any) -> Start:
    """A copy that puts out itself what the loaded model puts out with its wrapper, but for element references."""
    model = copy_model(bare_model(loaded))
    transformer = getattr(loaded, "transformer", None)
    if transformer is not None:
        if not hasattr(transformer, "std"):
            raise ModelError(f"The target transformer {transformer} cannot be kept. Use --readout fresh.")
        Standardisation(float(transformer.std), float(transformer.mean)).fold_into(model)
    if getattr(loaded, "calc_repuls", False):
        raise ModelError("A Potential with a repulsion of its own cannot be kept. Use --readout fresh.")
    if hasattr(loaded, "data_std"):
        if float(loaded.data_mean) != 0:
            raise ModelError("A Potential with a mean of its own cannot be kept. Use --readout fresh.")
        Standardisation(float(loaded.data_std)).fold_into(model)
    references = getattr(loaded, "element_refs", None)
    return Start(model, True, None if references is None else in_float64(references.property_offset.detach()))


def _readout_arguments(architecture: Architecture, config: FinetuneConfig) -> Mapping[str, Any]:
    """Constructor arguments that make a readout of the target's kind."""
    if not config.extensive:
        return architecture.intensive
    if architecture.extensive is None:
        others = " or ".join(a.name for a in ARCHITECTURES.values() if a.extensive)
        raise ModelError(
            f"{architecture.name}'s output is intensive and cannot be a sum over atoms: use --model {others} for an "
            f"extensive {config.target}, or train on {config.target} per atom."
        )
    return architecture.extensive
