"""Fine-tune an encoder on few labels, and hand back a plain MatGL model that speaks their unit."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from matgl_ssl.acceleration import accelerate, decelerate, use, using
from matgl_ssl.backends import Potential
from matgl_ssl.boundary import verb
from matgl_ssl.columns import unit_of
from matgl_ssl.config import read_yaml
from matgl_ssl.crystals import CheckReport, CrystalDataset, Finding
from matgl_ssl.crystals.labels import numbers
from matgl_ssl.crystals.physics import extent, trained_extent
from matgl_ssl.encoders import ARCHITECTURES, Encoder, bare_model
from matgl_ssl.encoders.state import state_labels
from matgl_ssl.errors import ConfigError, DataError, NonFiniteError
from matgl_ssl.hub import model_output, refuse_other_arguments, save_model
from matgl_ssl.hub.elements import warn_of_elements
from matgl_ssl.losses import rank_and_world
from matgl_ssl.reporting import ON_MAP, Kept, draw, keep_crystals, sample
from matgl_ssl.targets import with_targets
from matgl_ssl.views import View

from .config import FinetuneConfig
from .data import checked_crystals, data_facts, describe, read_source, weights_facts
from .exclusive import exclusive
from .loader import GraphDataset
from .options import with_options
from .parity import Row, as_csv, columns, compare_with_median, mae_interval, parity_plot, scores
from .provenance import provenance, public_name, trained_elements
from .rundir import RunDirectory
from .shared import warn_of_shared
from .splits import Splits, split
from .start import SCRATCH, Start, is_scratch, unsaid_start
from .supervised import FinetuningModule, begin, prepare, representation_of, trained_model
from .target import transformed
from .team import Team
from .trainer import Task, batches, fit
from .vectors import crystal_vectors

if TYPE_CHECKING:
    from matgl_ssl.options import FinetuneKeywords

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


class Patience(EarlyStopping):
    """Early stopping that also holds in a run that is resumed after it was over."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Do not begin another epoch."""
        trainer.should_stop = self.wait_count >= self.patience


@with_options(FinetuneConfig)
@verb
@using
@exclusive
def finetune(
    *,
    data: Any,
    out: str | Path,
    config: str | Path | None = None,
    resume: bool = False,
    **options: Unpack[FinetuneKeywords],
) -> FinetuneResult:
    """Fine-tune an encoder on a scalar property of crystals.

    Args:
        data: Labelled crystals (see ``read_crystals``).
        out: The run directory; must be empty or absent, unless ``resume``.
        config: YAML file with any of the options below; options given here win over it.
        resume: Continue the run in ``out`` exactly where it stopped.
        **options: The fields of ``FinetuneConfig``. ``init_from`` and ``node_embedding_from`` also take a MatGL model,
            which is not changed; ``val_data`` and ``test_data`` take whatever ``data`` takes. Without ``init_from``
            training starts from the shipped encoder of ``model`` (``list_models``), if there is one and no
            ``model_args`` are given; ``init_from="scratch"`` starts from random weights.

    Returns:
        Where the model is, and how good it is.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    run = RunDirectory(out)
    settings, sources = finetuning_settings(data, config, options, run.stored_config() if resume else None)
    use(settings.acceleration)
    team = Team(settings)
    if team.leads and not resume:
        run.refuse_if_used()
    arguments = {"data": data, "out": out, "config": config, "resume": resume, **options}
    with team.at_work(finetune, arguments):
        task, graphs, checkpoint = team.in_turn(lambda: _prepared(settings, sources, options, run, team, resume))
        fit(task, run, checkpoint)
        return team.first(lambda: _export(task, graphs, run))


def finetuning_settings(
    data: Any, config: str | Path | None, options: Mapping[str, Any], stored: Mapping[str, Any] | None
) -> tuple[FinetuneConfig, dict[str, Any]]:
    """The configuration, and the sources of data and weights as they were given.

    Args:
        data: As for ``finetune``.
        config: Likewise.
        options: Likewise.
        stored: The configuration of the run that is resumed; None for a new run.

    Raises:
        ConfigError: If an option is unknown or has a wrong value.
    """
    given = {**(read_yaml(config) if config else {}), **options}
    given = {name: value for name, value in given.items() if name != "init_from" or value is not None}
    before = unsaid_start(given) if stored is None else dict(stored)
    sources = {k: given.get(k, before.get(k)) for k in ("init_from", "node_embedding_from", "val_data", "test_data")}
    named = {k: describe(v) for k, v in sources.items() if v is not None}
    sources["init_from"] = None if is_scratch(sources["init_from"]) else sources["init_from"]
    settings = FinetuneConfig.build(before, given, named, {"data": describe(data)})
    return settings, {**sources, "data": data}


def chosen_parts(
    config: FinetuneConfig, sources: Mapping[str, Any], asked: str | None
) -> tuple[Start, Encoder, Splits, CheckReport]:
    """The model that training starts from, its encoder, the crystals of each part, and what is left out of them.

    Raises:
        MatGLSSLError: As ``finetune``.
    """
    begun, encoder = _begin(config, sources, asked)
    return begun, encoder, *_crystals(sources, encoder, config)


def _prepared(
    config: FinetuneConfig, sources: Mapping[str, Any], asked: Mapping[str, Any], run: RunDirectory, team: Team,
    resume: bool,
) -> tuple[Task, dict[str, GraphDataset], Path | None]:  # fmt: skip
    """What is trained, the graphs of each part that has crystals, and what to go on from."""
    checkpoint = run.resume(config) if resume else None
    begun, encoder, splits, report = chosen_parts(config, sources, asked.get("model"))
    if not resume:
        config = config.model_copy(update={"model": encoder.architecture.name})
    if team.leads:
        if not resume:
            run.start(config)
        report.tell(report.write(run.path / "skipped.json"))
    task, graphs = _prepare(begun, encoder, splits, config, run, team)
    task.facts |= weights_facts(init_from=sources["init_from"])
    task.elements = trained_elements(splits.train, sources["init_from"])
    for part in (splits.val, splits.test):
        warn_of_elements({"elements": task.elements}, part)
    return task, graphs, checkpoint


def _begin(config: FinetuneConfig, sources: Mapping[str, Any], asked: str | None) -> tuple[Start, Encoder]:
    """The model, and what the options say of it that it is not."""
    loads = sources["init_from"] is not None
    if not loads and config.model not in ARCHITECTURES:
        raise ConfigError(
            f"--model {config.model} is no architecture ({', '.join(ARCHITECTURES)}). To start from a saved model, a "
            "run or a hub's model, use --init-from."
        )
    begun, encoder = begin(config, sources["init_from"], sources["node_embedding_from"])
    if loads:
        if asked not in (None, encoder.architecture.name):
            raise ConfigError(f"--model {asked}: --init-from is a {encoder.architecture.name}. Leave --model out.")
        refuse_other_arguments(begun.model, config.model_args)
    return begun, encoder


def _crystals(sources: Mapping[str, Any], encoder: Encoder, config: FinetuneConfig) -> tuple[Splits, CheckReport]:
    """The parts, split before any check that depends on a model, and what is left out of them."""
    columns = [config.target, *([config.split_column] if config.split_column else [])]
    crystals = read_source(sources["data"], columns=columns, units=config.units)
    others = {
        name: read_source(sources[f"{name}_data"], columns=[config.target], units=config.units)
        for name in ("val", "test")
        if sources[f"{name}_data"] is not None
    }
    findings = [finding for source in (crystals, *others.values()) for finding in source.rejected]
    crystals, *parts = [_labelled(source, config, findings) for source in (crystals, *others.values())]
    splits = split(crystals, config, **dict(zip(others, parts, strict=True)))
    if (config.patience or config.selection == "best") and not len(splits.val):
        raise ConfigError("--patience and --selection best need validation crystals: set --val-fraction or --val-data.")
    train = splits.train
    grows = extent(train.column(config.target).astype(float), train.sizes(), train.formulas())
    if remark := trained_extent(config.target, grows, config.extensive):
        logger.warning("%s", remark)
    kept, n_total = splits.parts(), len(findings)
    for name, part in splits.parts().items():
        if len(part):
            kept[name], report = checked_crystals(part, encoder, config)
            findings += report.findings
            n_total += report.n_total
    warn_of_shared(Splits(**kept))
    return Splits(**kept), CheckReport(n_total, sum(map(len, kept.values())), tuple(findings))


def _labelled(crystals: CrystalDataset, config: FinetuneConfig, findings: list[Finding]) -> CrystalDataset:
    """The crystals that have the target, and can be trained on it; the others become findings."""
    has = np.isfinite(numbers(crystals, config.target))
    if not has.any():
        raise DataError(f"No crystal of {crystals.source} has a value of {config.target!r}.")
    if not has.all():
        without = crystals.select(np.flatnonzero(~has)).ids
        findings += [Finding(id_, "unlabelled", f"no value of {config.target}") for id_ in without]
        crystals = crystals.select(np.flatnonzero(has))
    transformed(crystals.column(config.target).astype(float), config.transform, crystals.ids)  # or raises
    return crystals


def _prepare(
    begun: Start, encoder: Encoder, splits: Splits, config: FinetuneConfig, run: RunDirectory, team: Team
) -> tuple[Task, dict[str, GraphDataset]]:
    """What is trained, and the graphs of each part that has crystals."""
    representation = representation_of(begun.model, team.device)
    parts = {name: with_targets(part, representation) for name, part in splits.parts().items() if len(part)}
    column = next((target.column for target in representation), None)
    graphs = {
        name: GraphDataset(part, encoder.graph_builder(), [View()], config.seed, target=config.target,
                           transform=config.transform, representation=column)
        for name, part in parts.items()
    }  # fmt: skip
    logger.info(
        "Fine-tuning %s on %d labels of %s (%d to validate, %d to test), %s.",
        encoder.architecture.name, len(splits.train), config.target, len(splits.val), len(splits.test),
        f"from {config.init_from or SCRATCH}"
        + (f" on the representation of {config.node_embedding_from}" if config.node_embedding_from else ""),
    )  # fmt: skip
    task = prepare(begun, encoder, parts["train"], graphs["train"], config)
    task.facts = data_facts([config.target], **splits.parts())
    if representation:
        task.facts["frozen encoder"] = representation[0].weights
    task.val = batches(graphs["val"], config, ranks=rank_and_world()) if "val" in graphs else None
    task.team = team
    task.callbacks = _callbacks(config, run)
    return task, graphs


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


def _export(task: Task, graphs: Mapping[str, GraphDataset], run: RunDirectory) -> FinetuneResult:
    """Write the plain model, what it says of every crystal, and how good that is."""
    module, config = cast("FinetuningModule", task.module), cast("FinetuneConfig", task.config)
    best = run.checkpoint.with_name("best.ckpt")
    if config.selection == "best" and best.exists():
        module.load_state_dict(run.load_checkpoint(best, config, task.facts)["state_dict"])
    model = trained_model(module)
    if config.extensive:
        references = module.standardisation.references
        model = Potential(model, element_refs=None if references is None else references.float().numpy())
    unit = config.unit or unit_of(config.target)
    target = {
        "name": config.target, "unit": unit, "transform": config.transform, "extensive": config.extensive,
    }  # fmt: skip
    facts = {
        "init_from": public_name(config.init_from or SCRATCH), "n_labels": len(graphs["train"]), **provenance(task),
    }  # fmt: skip
    if config.node_embedding_from:
        facts["node_embedding_from"] = public_name(config.node_embedding_from)
    table = _predictions(accelerate(model), config, graphs)
    if not all(math.isfinite(row.prediction) for row in table):
        raise NonFiniteError(f"Training diverged at a learning rate of {config.lr:g}. Try a smaller one.")
    metrics = {name: scores(*columns(table, name)) for name in graphs}
    held_out = next((name for name in ("test", "val") if name in metrics), None)
    if held_out:
        interval = mae_interval(*columns(table, held_out))
        facts["metrics"] = {"part": held_out, **_without_nan(metrics[held_out]), "mae_interval": interval}
    path = save_model(decelerate(model), run.path / "model", kind="model", readout="trained", target=target, **facts)
    run.write_text("predictions.csv", as_csv(table))
    run.write_json("metrics.json", {name: _without_nan(part) for name, part in metrics.items()})
    shown = held_out or "train"
    compare_with_median(table, shown, metrics[shown]["mae"], config.target)
    parity_plot(run.figures / "parity.png", {n: columns(table, n) for n in graphs}, f"{config.target} ({unit})")
    with draw(run.path):
        _keep_shown(module.encoder, table, config, graphs, run)
    return FinetuneResult(run.path, path, metrics[shown])


def _keep_shown(
    encoder: Encoder, table: Sequence[Row], config: FinetuneConfig, graphs: Mapping[str, GraphDataset],
    run: RunDirectory,
) -> None:  # fmt: skip
    """Crystals for the report's figures; those that were not trained on come first on its map."""
    room, kept = ON_MAP, []
    for part in sorted(graphs, key=["test", "val", "train"].index):
        labels, predictions = columns(table, part)
        rows = sample(len(labels), room)
        room -= len(rows)
        kept.append(
            Kept(graphs[part].crystals.select_labels([]), part, config.target,
                 {"label": labels, "prediction": predictions},
                 crystal_vectors(encoder.to("cpu"), graphs[part], rows), rows)
        )  # fmt: skip
    keep_crystals(run.path, kept)


def _without_nan(part: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in part.items()}  # JSON has no NaN


def _predictions(model: nn.Module, config: FinetuneConfig, graphs: Mapping[str, GraphDataset]) -> list[Row]:
    """Label and prediction of every crystal."""
    rows = []
    for part, dataset in graphs.items():
        for (batch,) in batches(dataset, config.model_copy(update={"num_workers": 0})):
            state = state_labels(bare_model(model), config.state_attr, len(batch))
            values, labels = model_output(model, batch, state).double(), batch.labels["target"]
            if config.transform == "log10":
                values, labels = 10**values, 10**labels
            rows += [Row(i, part, y, v) for i, y, v in zip(batch.ids, labels.tolist(), values.tolist(), strict=True)]
    return rows
