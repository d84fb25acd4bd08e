"""Fine-tune an encoder on few labels, and hand back a plain MatGL model that speaks their unit."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional

from matgl_ssl.backends import CrystalBatch, Potential
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.encoders import Encoder, bare_model, depth_of_parameter, is_extensive
from matgl_ssl.errors import ConfigError, DataError, ModelError
from matgl_ssl.hub import copy_model, load_model, model_output, new_model, save_model, without_dropout
from matgl_ssl.views import View

from .config import FinetuneConfig, read_yaml
from .data import checked_crystals, describe, fingerprint, read_source
from .loader import GraphDataset, SeededLoader
from .module import TrainingModule, initialise
from .options import with_options
from .parity import parity_plot, scores
from .rundir import RunDirectory
from .splits import Splits, split
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
            parameter.requires_grad_(config.freeze is None or self._depth(name) > config.freeze)

    def _depth(self, name: str) -> int:
        return depth_of_parameter(self.encoder.architecture, self.encoder.n_depths, name)

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """One group a depth, each with its learning-rate factor."""
        top = self.encoder.n_depths + 1
        for depth in range(top + 1):
            named = self.encoder.model.named_parameters()
            parameters = [p for name, p in named if p.requires_grad and self._depth(name) == depth]
            yield {"params": parameters, "factor": self.config.depth_lr_factor ** (top - depth)}

    def score(self, batches: list[CrystalBatch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss on the standardised label; ``mae`` in the unit the model was trained in (log units for log10)."""
        batch = batches[0].to(self.device)
        output = self.encoder(batch).output
        offsets = summed_references(self.standardisation.references, batch)
        labels = self.standardisation.to_model(batch.labels["target"], offsets).to(output)
        per = batch.n_atoms.to(output) if self.standardisation.per_atom else torch.ones_like(output)
        errors = (output - labels) / per
        loss = functional.l1_loss if self.config.loss == "l1" else functional.mse_loss
        mae = errors.detach().abs().mean() * self.standardisation.scale
        return loss(errors, torch.zeros_like(errors)), {"mae": mae}


def summed_references(references: Tensor | None, batch: CrystalBatch) -> Tensor | float:
    """Sum of the elements' offsets over each crystal, ``(B,)``."""
    if references is None:
        return 0.0
    per_atom = references.to(batch.node_type.device)[batch.node_type]
    return per_atom.new_zeros(len(batch)).index_add_(0, batch.batch, per_atom)


@with_options(FinetuneConfig)
def finetune(
    *, data: Any, out: str | Path, config: str | Path | None = None, resume: bool = False, **options: Any
) -> FinetuneResult:
    """Fine-tune an encoder on a scalar property of crystals.

    Args:
        data: Labelled crystals (see ``read_crystals``).
        out: The run directory; must be empty or absent, unless ``resume``.
        config: YAML file with any of the options below; options given here win over it.
        resume: Go on with the run in ``out``, exactly.
        **options: The fields of ``FinetuneConfig``. ``init_from`` also takes a MatGL model, which is not changed;
            ``val_data`` and ``test_data`` take whatever ``data`` takes. Without ``init_from`` training starts from
            random weights (``model``).

    Returns:
        Where the model is, and how good it is.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    given = {**(read_yaml(config) if config else {}), **options}
    sources = {k: given.get(k) for k in ("init_from", "val_data", "test_data")}
    named = {k: describe(v) for k, v in sources.items() if v is not None}
    run = RunDirectory(out)
    stored = run.stored_config() if resume else {}
    settings = FinetuneConfig.build(stored, given, named, {"data": describe(data)})
    if not resume:
        run.refuse_if_used()
    if (settings.patience or settings.selection == "best") and not (settings.val_fraction or settings.val_data):
        raise ConfigError("--patience and --selection best need validation crystals: set --val-fraction or --val-data.")
    checkpoint = run.resume(settings) if resume else None
    model, references, keep = initialise(lambda: _start(settings, sources["init_from"]), settings.seed)
    encoder = Encoder(model)
    columns = [settings.target, *([settings.split_column] if settings.split_column else [])]
    crystals = _labelled(read_source(data, columns=columns), settings)
    if not resume:
        run.start(settings)
    splits = _split(crystals, encoder, settings, run, sources)
    standardisation = _standardise(splits.train, encoder, settings, references, keep)
    if keep:
        standardisation.unfold_from(encoder.model)
    loaders = {
        name: SeededLoader(
            GraphDataset(part, encoder.graph_builder(), [View()], settings.seed, target=settings.target,
                         transform=settings.transform),
            batch_size=settings.batch_size, seed=settings.seed, shuffle=name == "train",
            num_workers=settings.num_workers,
        )
        for name, part in splits.parts().items()
        if len(part)
    }  # fmt: skip
    logger.info(
        "Fine-tuning %s on %d labels of %s (%d to validate, %d to test), %s.",
        encoder.architecture.name, len(splits.train), settings.target, len(splits.val), len(splits.test),
        f"from {settings.init_from}" if settings.init_from else "from scratch",
    )  # fmt: skip
    module = FinetuningModule(
        encoder, standardisation, settings, total_steps=settings.epochs * len(loaders["train"])
    )
    facts = {"data": fingerprint(splits.train), "validation data": fingerprint(splits.val)}
    fit(module, loaders["train"], loaders.get("val"), config=settings, run=run, checkpoint=checkpoint, facts=facts,
        callbacks=_callbacks(settings, run))  # fmt: skip
    return _export(module, settings, run, loaders)


def _start(config: FinetuneConfig, init_from: Any) -> tuple[Any, Tensor | None, bool]:
    """The model to train, the element references it came with, and whether its readout is kept."""
    if init_from is None:
        fresh = new_model(config.model, _readout_arguments(config.model, config) | config.model_args)
        return fresh, None, False
    loaded, stamp = load_model(init_from, trained_with=config.trained_with, prefer=("encoder", "model", "potential"))
    model = bare_model(loaded)
    trained = stamp.get("readout", "trained") == "trained"
    keep = config.readout == "keep" or (config.readout == "auto" and trained)
    if config.readout == "auto" and is_extensive(model) != config.extensive:
        keep = False
    if keep and stamp.get("readout") == "untrained":
        raise ModelError(f"The readout of {config.init_from} is untrained; there is nothing to keep (--readout fresh).")
    if keep:
        refs = getattr(loaded, "element_refs", None)
        return copy_model(model), None if refs is None else refs.property_offset.double(), True
    encoder = Encoder(model)
    arguments = _readout_arguments(encoder.architecture.name, config)
    return copy_model(model, fresh=encoder.architecture.readout_modules, **arguments), None, False


def _readout_arguments(architecture: str, config: FinetuneConfig) -> dict[str, Any]:
    """Constructor arguments that make a readout of the target's kind."""
    if architecture == "M3GNet":
        return {"is_intensive": not config.extensive}
    if config.extensive:
        raise ModelError(f"{architecture}'s output is intensive: it cannot predict {config.target} as a sum over atoms.")
    return {}


def _labelled(crystals: CrystalDataset, config: FinetuneConfig) -> CrystalDataset:
    """The crystals that have the target."""
    labels = crystals.column(config.target)
    if labels.dtype.kind not in "fiub":
        raise DataError(f"The target {config.target!r} is not a number for each crystal.")
    has = np.isfinite(labels.astype(float))
    if not has.any():
        raise DataError(f"No crystal of {crystals.source} has a value of {config.target!r}.")
    if not has.all():
        logger.warning("%d of %d crystals have no %s and are left out.", (~has).sum(), len(has), config.target)
        crystals = crystals.select(np.flatnonzero(has))
    return crystals


def _split(
    crystals: CrystalDataset, encoder: Encoder, config: FinetuneConfig, run: RunDirectory, sources: dict[str, Any]
) -> Splits:
    crystals = checked_crystals(crystals, encoder, config, run)
    others = {}
    for name in ("val_data", "test_data"):
        if sources[name] is not None:
            labelled = _labelled(read_source(sources[name], columns=[config.target]), config)
            others[name] = checked_crystals(labelled, encoder, config, run, name=f"skipped-{name}.json")
    return split(crystals, config, others.get("val_data"), others.get("test_data"))


def _standardise(
    train: CrystalDataset, encoder: Encoder, config: FinetuneConfig, references: Tensor | None, keep: bool
) -> Standardisation:
    labels = transformed(train.column(config.target).astype(float), config.transform, train.ids)
    if keep:
        return Standardisation.keep(labels, references, per_atom=config.extensive)
    if not config.extensive:
        return Standardisation.fit(labels)
    index = {symbol: i for i, symbol in enumerate(encoder.element_types)}
    compositions = np.zeros((len(train), len(index)))
    for row, crystal in enumerate(train):
        for symbol in crystal.symbols:
            compositions[row, index[symbol]] += 1
    return Standardisation.fit_extensive(labels, compositions)


def _callbacks(config: FinetuneConfig, run: RunDirectory) -> list[L.Callback]:
    callbacks: list[L.Callback] = []
    if config.patience:
        callbacks.append(EarlyStopping("val_loss", patience=config.patience))
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
        n = len(module.encoder.element_types)
        offsets = torch.zeros(n) if references is None else references
        model = Potential(model, element_refs=offsets.float().numpy())
    unit = config.unit or UNITS.get(config.target, "")
    target = {
        "name": config.target, "unit": unit, "transform": config.transform, "extensive": config.extensive,
    }  # fmt: skip
    facts = {"init_from": config.init_from or "scratch", "n_labels": len(loaders["train"].dataset)}
    path = save_model(model, run.path / "model", kind="model", readout="trained", target=target, **facts)
    table = _predictions(model, config, loaders)
    run.write_text("predictions.csv", _csv(table))
    metrics = {name: scores(*_columns(table, name)) for name in loaders}
    run.write_json("metrics.json", metrics)
    shown = "test" if "test" in metrics else "val" if "val" in metrics else "train"
    parity_plot(run.figures / "parity.png", {n: _columns(table, n) for n in loaders}, f"{config.target} ({unit})")
    return FinetuneResult(run.path, path, metrics[shown])


def _predictions(
    model: nn.Module, config: FinetuneConfig, loaders: dict[str, SeededLoader]
) -> list[tuple[str, str, float, float]]:
    """(id, part, label, prediction) of every crystal in the target's own unit, by the model as exported."""
    rows = []
    for part, loader in loaders.items():
        ordered = SeededLoader(loader.dataset, batch_size=config.batch_size, seed=config.seed, shuffle=False)
        for (batch,) in ordered:
            values, labels = model_output(model, batch).double(), batch.labels["target"]
            if config.transform == "log10":
                values, labels = 10**values, 10**labels
            rows += [(i, part, y, v) for i, y, v in zip(batch.ids, labels.tolist(), values.tolist(), strict=True)]
    return rows


def _columns(table: list[tuple[str, str, float, float]], part: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [(y, v) for _, p, y, v in table if p == part]
    return np.array([y for y, _ in rows]), np.array([v for _, v in rows])


def _csv(table: list[tuple[str, str, float, float]]) -> str:
    lines = ["id,split,target,prediction"]
    lines += [f"{json.dumps(i) if ',' in i else i},{part},{y:.9g},{v:.9g}" for i, part, y, v in table]
    return "\n".join(lines) + "\n"
