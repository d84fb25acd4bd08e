"""Fine-tune an encoder on few labels, and hand back a plain MatGL model that speaks their unit."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from matgl_ssl.acceleration import accelerate, decelerate, use, using
from matgl_ssl.backends import CrystalBatch, Potential
from matgl_ssl.boundary import verb
from matgl_ssl.config import read_yaml
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.composition import compositions
from matgl_ssl.crystals.labels import numbers
from matgl_ssl.devices import choose, moved
from matgl_ssl.encoders import ARCHITECTURES, Encoder, bare_model, layer_of_parameter
from matgl_ssl.encoders.state import state_labels
from matgl_ssl.errors import ConfigError, DataError, NonFiniteError
from matgl_ssl.hub import model_output, refuse_other_arguments, save_model, without_dropout
from matgl_ssl.losses import ELEMENTWISE
from matgl_ssl.models import NEGNN
from matgl_ssl.targets import with_targets
from matgl_ssl.targets.representation import Representation
from matgl_ssl.views import View

from .config import FinetuneConfig
from .data import checked_crystals, data_facts, describe, read_source, weights_facts
from .exclusive import exclusive
from .loader import GraphDataset, SeededLoader
from .module import TrainingModule, initialise
from .options import with_options
from .parity import parity_plot, scores
from .rundir import RunDirectory
from .splits import split
from .start import Start, start
from .target import UNITS, Standardisation, transformed
from .trainer import fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneResult:
    """What ``finetune`` leaves behind.

    Attributes:
        out: The run directory, with ``predictions.csv``, ``metrics.json`` and ``figures/parity.png``.
        model: Directory of the exported model.
        metrics: Scores on the test crystals (on the validation crystals if there are none) in the target's unit.
    """

    out: Path
    model: Path
    metrics: dict[str, float]


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
        offsets = summed_references(self.standardisation.references, batch)
        labels = self.standardisation.to_model(batch.labels["target"], offsets).to(output)
        per = batch.n_atoms.to(output) if self.standardisation.per_atom else torch.ones_like(output)
        errors = (output - labels) / per
        loss = ELEMENTWISE[self.config.loss]
        mae = errors.detach().abs().mean() * self.standardisation.scale
        return loss(errors, torch.zeros_like(errors)), {"mae": mae}


def check_freeze(encoder: Encoder, config: FinetuneConfig) -> None:
    """Refuse to freeze what there is not.

    Raises:
        ConfigError: If the encoder has no such layer.
    """
    if config.freeze is not None and config.freeze > encoder.n_layers:
        raise ConfigError(f"--freeze {config.freeze}: the encoder has layers 0 to {encoder.n_layers}.")


class Patience(EarlyStopping):
    """Early stopping that also holds in a run that is resumed after it was over."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Do not begin another epoch."""
        trainer.should_stop = self.wait_count >= self.patience


def summed_references(references: Tensor | None, batch: CrystalBatch) -> Tensor | float:
    """Sum of the elements' offsets over each crystal, ``(B,)``."""
    if references is None:
        return 0.0
    per_atom = moved(references, batch.node_type.device)[batch.node_type]
    return per_atom.new_zeros(len(batch)).index_add_(0, batch.batch, per_atom)


@with_options(FinetuneConfig)
@verb
@using
@exclusive
def finetune(
    *, data: Any, out: str | Path, config: str | Path | None = None, resume: bool = False, **options: Any
) -> FinetuneResult:
    """Fine-tune an encoder on a scalar property of crystals.

    Args:
        data: Labelled crystals (see ``read_crystals``).
        out: The run directory; must be empty or absent, unless ``resume``.
        config: YAML file with any of the options below; options given here win over it.
        resume: Go on with the run in ``out``, exactly.
        **options: The fields of ``FinetuneConfig``. ``init_from`` and ``node_embedding_from`` also take a MatGL model,
            which is not changed; ``val_data`` and ``test_data`` take whatever ``data`` takes. Without ``init_from``
            training starts from random weights (``model``).

    Returns:
        Where the model is, and how good it is.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    given = {**(read_yaml(config) if config else {}), **options}
    run = RunDirectory(out)
    stored = run.stored_config() if resume else {}
    sources = {k: given.get(k, stored.get(k)) for k in ("init_from", "node_embedding_from", "val_data", "test_data")}
    named = {k: describe(v) for k, v in sources.items() if v is not None}
    settings = FinetuneConfig.build(stored, given, named, {"data": describe(data)})
    use(settings.acceleration)
    if not resume:
        run.refuse_if_used()
    device, checkpoint = choose(settings.accelerator, settings.devices).first, run.resume(settings) if resume else None
    begin, encoder = _begin(settings, sources, options.get("model"))
    if not resume:
        settings = settings.model_copy(update={"model": encoder.architecture.name})
    columns = [settings.target, *([settings.split_column] if settings.split_column else [])]
    crystals = _labelled(read_source(data, columns=columns), settings)
    others = {
        name: _labelled(read_source(sources[f"{name}_data"], columns=[settings.target]), settings)
        for name in ("val", "test")
        if sources[f"{name}_data"] is not None
    }
    found = split(crystals, settings, **others)  # what is wrong with the split is said before the directory is made
    if (settings.patience or settings.selection == "best") and not len(found.val):
        raise ConfigError("--patience and --selection best need validation crystals: set --val-fraction or --val-data.")
    crystals, report = checked_crystals(crystals, encoder, settings)
    reports = {"skipped.json": report}
    for name, part in others.items():
        others[name], reports[f"skipped-{name}_data.json"] = checked_crystals(part, encoder, settings)
    if not resume:
        run.start(settings)
    for name, report in reports.items():
        report.write(run.path / name)
    representation = representation_of(begin.model, device)
    crystals = with_targets(crystals, representation)
    others = {name: with_targets(part, representation) for name, part in others.items()}
    splits = split(crystals, settings, **others)
    standardisation = _standardise(splits.train, begin, settings)
    if begin.keep:
        standardisation.unfold_from(begin.model)
    loaders = {
        name: SeededLoader(
            GraphDataset(part, encoder.graph_builder(), [View()], settings.seed, target=settings.target,
                         transform=settings.transform, representation=next((t.column for t in representation), None)),
            batch_size=settings.batch_size, seed=settings.seed, shuffle=name == "train",
            num_workers=settings.num_workers, max_edges=settings.max_edges,
        )
        for name, part in splits.parts().items()
        if len(part)
    }  # fmt: skip
    logger.info(
        "Fine-tuning %s on %d labels of %s (%d to validate, %d to test), %s.",
        encoder.architecture.name, len(splits.train), settings.target, len(splits.val), len(splits.test),
        f"from {settings.init_from or 'scratch'}"
        + (f" on the representation of {settings.node_embedding_from}" if settings.node_embedding_from else ""),
    )  # fmt: skip
    module = FinetuningModule(encoder, standardisation, settings, total_steps=loaders["train"].steps(settings.epochs))
    facts = data_facts([settings.target], **splits.parts()) | weights_facts(init_from=sources["init_from"])
    if representation:
        facts["frozen encoder"] = representation[0].weights
    fit(module, loaders["train"], loaders.get("val"), config=settings, run=run, checkpoint=checkpoint, facts=facts,
        callbacks=_callbacks(settings, run))  # fmt: skip
    return _export(module, settings, run, loaders)


def _begin(config: FinetuneConfig, sources: dict[str, Any], asked: str | None) -> tuple[Start, Encoder]:
    """The model, and what the options say of it that it is not."""
    loads = sources["init_from"] is not None
    if not loads and config.model not in ARCHITECTURES:
        raise ConfigError(
            f"--model {config.model} is no architecture ({', '.join(ARCHITECTURES)}). To start from a saved model, a "
            "run or a hub's model, use --init-from."
        )
    begin = initialise(lambda: start(config, sources["init_from"], sources["node_embedding_from"]), config.seed)
    encoder = Encoder(begin.model, state_labels(begin.model, config.state_attr, 1))
    if loads:
        if asked not in (None, encoder.architecture.name):
            raise ConfigError(f"--model {asked}: --init-from is a {encoder.architecture.name}. Leave --model out.")
        refuse_other_arguments(begin.model, config.model_args)
    check_freeze(encoder, config)
    return begin, encoder


def representation_of(model: Any, device: torch.device | None = None) -> list[Representation]:
    """A NEGNN's frozen vectors, to be computed once, on a device; nothing for other models."""
    return [Representation.of(accelerate(model.frozen), model.represented, device)] if isinstance(model, NEGNN) else []


def _labelled(crystals: CrystalDataset, config: FinetuneConfig) -> CrystalDataset:
    """The crystals that have the target, and can be trained on it."""
    has = np.isfinite(numbers(crystals, config.target))
    if not has.any():
        raise DataError(f"No crystal of {crystals.source} has a value of {config.target!r}.")
    if not has.all():
        logger.warning("%d of %d crystals have no %s and are left out.", (~has).sum(), len(has), config.target)
        crystals = crystals.select(np.flatnonzero(has))
    _transformed_labels(crystals, config)
    return crystals


def _transformed_labels(crystals: CrystalDataset, config: FinetuneConfig) -> np.ndarray:
    return transformed(crystals.column(config.target).astype(float), config.transform, crystals.ids)


def _standardise(train: CrystalDataset, begin: Start, config: FinetuneConfig) -> Standardisation:
    labels = _transformed_labels(train, config)
    if not config.extensive:
        return Standardisation.keep(labels) if begin.keep else Standardisation.fit(labels)
    counts = compositions(train, begin.model.element_types)
    if begin.keep:
        return Standardisation.keep_extensive(labels, counts, begin.references)
    return Standardisation.fit_extensive(labels, counts)


def _callbacks(config: FinetuneConfig, run: RunDirectory) -> list[L.Callback]:
    callbacks: list[L.Callback] = []
    if config.patience:
        callbacks.append(Patience("val_loss", patience=config.patience))
    if config.selection == "best":
        callbacks.append(
            ModelCheckpoint(
                run.checkpoint.parent, filename="best", monitor="val_loss", enable_version_counter=False,
                save_weights_only=True,
            )
        )  # fmt: skip
    return callbacks


def _export(
    module: FinetuningModule, config: FinetuneConfig, run: RunDirectory, loaders: dict[str, SeededLoader]
) -> FinetuneResult:
    best = run.checkpoint.with_name("best.ckpt")
    if config.selection == "best" and best.exists():
        module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    model: Any = without_dropout(module.encoder.model.to("cpu"))
    module.standardisation.fold_into(model)
    references = module.standardisation.references
    if config.extensive:
        model = Potential(model, element_refs=None if references is None else references.float().numpy())
    unit = config.unit or UNITS.get(config.target, "")
    target = {
        "name": config.target, "unit": unit, "transform": config.transform, "extensive": config.extensive,
    }  # fmt: skip
    facts = {"init_from": config.init_from or "scratch", "n_labels": len(loaders["train"].dataset)}
    if config.node_embedding_from:
        facts["node_embedding_from"] = config.node_embedding_from
    table = _predictions(accelerate(model), config, loaders)
    if not all(math.isfinite(prediction) for *_, prediction in table):
        raise NonFiniteError(f"Training diverged at a learning rate of {config.lr:g}. Try a smaller one.")
    path = save_model(decelerate(model), run.path / "model", kind="model", readout="trained", target=target, **facts)
    run.write_text("predictions.csv", _csv(table))
    metrics = {name: scores(*_columns(table, name)) for name in loaders}
    finite = {name: {k: v if math.isfinite(v) else None for k, v in part.items()} for name, part in metrics.items()}
    run.write_json("metrics.json", finite)  # JSON has no NaN
    shown = "test" if "test" in metrics else "val" if "val" in metrics else "train"
    _compare_with_median(table, shown, metrics[shown]["mae"], config.target)
    parity_plot(run.figures / "parity.png", {n: _columns(table, n) for n in loaders}, f"{config.target} ({unit})")
    return FinetuneResult(run.path, path, metrics[shown])


def _predictions(
    model: nn.Module, config: FinetuneConfig, loaders: dict[str, SeededLoader]
) -> list[tuple[str, str, float, float]]:
    """(id, part, label, prediction) of every crystal in the target's own unit."""
    rows = []
    for part, loader in loaders.items():
        ordered = SeededLoader(
            loader.dataset, batch_size=config.batch_size, seed=config.seed, shuffle=False, max_edges=config.max_edges
        )
        for (batch,) in ordered:
            state = state_labels(bare_model(model), config.state_attr, len(batch))
            values, labels = model_output(model, batch, state).double(), batch.labels["target"]
            if config.transform == "log10":
                values, labels = 10**values, 10**labels
            rows += [(i, part, y, v) for i, y, v in zip(batch.ids, labels.tolist(), values.tolist(), strict=True)]
    return rows


def _compare_with_median(table: list[tuple[str, str, float, float]], part: str, mae: float, target: str) -> None:
    """Warn where a constant is as good: few labels, or labels with long tails, can teach a model less than nothing."""
    labels, median = _columns(table, part)[0], np.median(_columns(table, "train")[0])
    constant = scores(labels, np.full_like(labels, median))["mae"]
    if not mae < constant:
        logger.warning(
            "The %s MAE of %s, %.4g, is not below the %.4g of predicting the training labels' median: a constant is as "
            "good. Give it more labels, or other rates (--lr, --layer-decay, --epochs).",
            part, target, mae, constant,
        )  # fmt: skip


def _columns(table: list[tuple[str, str, float, float]], part: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [(y, v) for _, p, y, v in table if p == part]
    return np.array([y for y, _ in rows]), np.array([v for _, v in rows])


def _csv(table: list[tuple[str, str, float, float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "split", "target", "prediction"])
    writer.writerows([i, part, f"{y:.9g}", f"{v:.9g}"] for i, part, y, v in table)
    return text.getvalue()
