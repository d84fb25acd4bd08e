"""Training on labels: the module, its unit, and the plain model that comes out; for ``finetune`` and the benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import CrystalBatch
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.composition import compositions
from matgl_ssl.devices import moved
from matgl_ssl.encoders import Encoder, layer_of_parameter
from matgl_ssl.encoders.state import state_labels
from matgl_ssl.errors import ConfigError
from matgl_ssl.hub import without_dropout
from matgl_ssl.losses import ELEMENTWISE, global_mean, rank_and_world
from matgl_ssl.models import NEGNN
from matgl_ssl.targets.representation import Representation

from .config import FinetuneConfig
from .line import start_as_line
from .loader import Samples
from .module import TrainingModule, initialise
from .start import Start, start
from .target import Standardisation, transformed
from .trainer import Task, batches

WEIGHT = "weight"
"""Name of a batch's labels that say how much each crystal counts in the loss."""


class FinetuningModule(TrainingModule):
    """An encoder with a readout, trained on standardised labels.

    Args:
        encoder: The encoder; its model's own output is what is trained.
        standardisation: From labels to the model's unit.
        config: Loss, freezing and learning rates.
        **kwargs: As for ``TrainingModule``.
    """

    def __init__(
        self, encoder: Encoder, standardisation: Standardisation, config: FinetuneConfig, **kwargs: Any
    ) -> None:
        super().__init__(optimizer=config, log_every=config.log_every, **kwargs)
        self.encoder = encoder
        self.standardisation = standardisation
        self.config = config
        encoder.mask_token.requires_grad_(False)
        for name, parameter in encoder.model.named_parameters():
            frozen = not parameter.requires_grad  # a NEGNN's encoder, MEGNet's radial basis
            parameter.requires_grad_(not frozen and (config.freeze is None or self._layer(name) > config.freeze))

    def _layer(self, name: str) -> int:
        return layer_of_parameter(self.encoder.architecture, self.encoder.n_layers, name)

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """One group a layer, each with its learning-rate factor."""
        top = self.encoder.n_layers + 1
        for layer in range(top + 1):
            named = self.encoder.model.named_parameters()
            parameters = [p for name, p in named if p.requires_grad and self._layer(name) == layer]
            yield {"params": parameters, "factor": self.config.layer_decay ** (top - layer)}

    def score(self, batches: list[CrystalBatch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss on the standardised label; ``mae`` in the unit the model was trained in (log units for log10)."""
        batch = batches[0].to(self.device)
        output = self.encoder(batch).output
        offsets = _summed(self.standardisation.references, batch)
        labels = self.standardisation.to_model(batch.labels["target"], offsets).to(output)
        per = batch.n_atoms.to(output) if self.standardisation.per_atom else torch.ones_like(output)
        errors = (output - labels) / per
        loss = ELEMENTWISE[self.config.loss]
        mae = global_mean(errors.detach().abs()) * self.standardisation.scale
        losses = loss(errors, torch.zeros_like(errors), reduction="none")
        if WEIGHT in batch.labels:  # their mean over all crystals is one: a batch of unimportant crystals counts less
            losses = losses * batch.labels[WEIGHT].to(losses)
        return global_mean(losses), {"mae": mae}


def begin(config: FinetuneConfig, init_from: Any, node_embedding_from: Any) -> tuple[Start, Encoder]:
    """The model that is to be trained, and its encoder.

    Args:
        config: The configuration.
        init_from: As for ``start``, which tells of what else is raised.
        node_embedding_from: Likewise.

    Raises:
        ConfigError: If more is to be frozen than there is.
    """
    begun = initialise(lambda: start(config, init_from, node_embedding_from), config.seed)
    encoder = Encoder(begun.model, state_labels(begun.model, config.state_attr, 1))
    if config.freeze is not None and config.freeze > encoder.n_layers:
        raise ConfigError(f"--freeze {config.freeze}: the encoder has layers 0 to {encoder.n_layers}.")
    return begun, encoder


def representation_of(model: Any, device: torch.device | None = None) -> list[Representation]:
    """A NEGNN's frozen vectors, to be computed once, on a device; nothing for other models."""
    return [Representation.of(accelerate(model.frozen), model.represented, device)] if isinstance(model, NEGNN) else []


def prepare(begun: Start, encoder: Encoder, crystals: CrystalDataset, graphs: Samples, config: FinetuneConfig) -> Task:
    """What ``fit`` takes to fine-tune.

    Args:
        begun: The initial model, from ``begin``; the unit of a readout that is kept is changed to the trained one.
        encoder: Its encoder.
        crystals: Training crystals with the target.
        graphs: The same crystals as graphs.
        config: The configuration.
    """
    standardisation = _standardise(crystals, begun, config)
    if begun.keep:
        standardisation.unfold_from(begun.model)
    if begun.heads is not None:
        labels = transformed(crystals.column(config.target).astype(float), config.transform, crystals.ids)
        standard = standardisation.to_model(torch.from_numpy(labels)).numpy()
        start_as_line(encoder, begun.heads, graphs, standard, np.array(crystals.formulas()))
    train = batches(graphs, config, shuffle=True, ranks=rank_and_world())
    return Task(
        FinetuningModule(encoder, standardisation, config, total_steps=train.steps(config.epochs)), config, train
    )


def trained_model(module: FinetuningModule) -> Any:
    """The plain model in the label's unit (its logarithm's, for log10), in eval mode on the CPU."""
    model: Any = without_dropout(module.encoder.model.to("cpu"))
    module.standardisation.fold_into(model)
    return model


def _standardise(train: CrystalDataset, begin: Start, config: FinetuneConfig) -> Standardisation:
    """The unit that a model is trained in, from the training labels; a kept readout is brought to speak it."""
    labels = transformed(train.column(config.target).astype(float), config.transform, train.ids)
    if not config.extensive:
        return Standardisation.keep(labels) if begin.keep else Standardisation.fit(labels)
    counts = compositions(train, begin.model.element_types)
    if begin.keep:
        return Standardisation.keep_extensive(labels, counts, begin.references)
    return Standardisation.fit_extensive(labels, counts)


def _summed(references: Tensor | None, batch: CrystalBatch) -> Tensor | float:
    """Sum of the elements' offsets over each crystal, ``(B,)``."""
    if references is None:
        return 0.0
    per_atom = moved(references, batch.node_type.device)[batch.node_type]
    return per_atom.new_zeros(len(batch)).index_add_(0, batch.batch, per_atom)
