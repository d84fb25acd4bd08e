"""Pretrain an encoder on crystals without labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import torch
from torch import Tensor, nn

from matgl_ssl import registry
from matgl_ssl.acceleration import use, using
from matgl_ssl.backends import CrystalBatch, Potential
from matgl_ssl.boundary import verb
from matgl_ssl.config import read_yaml
from matgl_ssl.crystals import CheckReport, CrystalDataset
from matgl_ssl.encoders import ARCHITECTURES, Encoder, architecture_of, bare_model, is_extensive
from matgl_ssl.encoders.state import state_labels
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.hub import copy_model, load_model, new_model, refuse_other_arguments, save_model, without_dropout
from matgl_ssl.hub.stamp import OUTPUT, VECTOR
from matgl_ssl.losses import rank_and_world
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.recipes import load_recipe
from matgl_ssl.reporting import ON_MAP, Kept, draw, keep_crystals, sample
from matgl_ssl.targets import with_targets
from matgl_ssl.targets.calculators import is_imported
from matgl_ssl.targets.teacher import teacher_labels
from matgl_ssl.views import View

from .collapse import CollapseMonitor
from .config import PretrainConfig
from .data import checked_crystals, data_facts, describe, random_split, read_source, weights_facts
from .exclusive import exclusive
from .loader import SeededLoader, ViewDataset
from .module import TrainingModule, initialise
from .options import with_options
from .provenance import provenance, trained_elements
from .rundir import RunDirectory
from .taught import taught_lines
from .team import Team
from .trainer import Task, batches, fit
from .vectors import crystal_vectors

if TYPE_CHECKING:
    from matgl_ssl.options import PretrainKeywords

logger = logging.getLogger(__name__)

OWN = "own"
"""The recipe's name where pretexts are named, and no recipe."""


class PretrainingModule(TrainingModule):
    """An encoder and the pretexts it answers.

    Args:
        encoder: The encoder.
        mixture: The pretexts.
        **kwargs: As for ``TrainingModule``.
    """

    def __init__(self, encoder: Encoder, mixture: Mixture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.mixture = mixture
        self.crystal_vectors: Tensor = torch.empty(0)

    def score(self, batches: list[CrystalBatch]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mixture's loss, and each pretext's."""
        batches = [batch.to(self.device) for batch in batches]
        loss, outputs, features = self.mixture(self.encoder, batches)
        metrics = {f"{name}/loss": output.loss for name, output in outputs.items()}
        metrics |= {f"{name}/{k}": v for name, output in outputs.items() for k, v in output.metrics.items()}
        if not self.training:
            self.crystal_vectors = batches[0].mean_over_atoms(features.node[-1])
        return loss, metrics

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's step; then pretexts may follow the encoder, before anything is saved."""
        super().optimizer_step(*args, **kwargs)
        self.mixture.after_step(self.encoder)


@dataclass(frozen=True)
class PretrainResult:
    """What ``pretrain`` leaves behind.

    Attributes:
        out: The run directory.
        encoder: Directory of the exported encoder, a plain MatGL model. Its stamp says what of its readout was trained.
        potential: Directory of the exported ``Potential``, when an energy that is a sum over atoms was trained.
    """

    out: Path
    encoder: Path
    potential: Path | None


@with_options(PretrainConfig)
@verb
@using
@exclusive
def pretrain(
    *,
    data: Any,
    out: str | Path,
    config: str | Path | None = None,
    resume: bool = False,
    **options: Unpack[PretrainKeywords],
) -> PretrainResult:
    """Pretrain a MatGL encoder on crystals without labels.

    Args:
        data: Crystals: pymatgen structures, ASE atoms, a ``CrystalDataset``, or a path or name (see ``read_crystals``).
        out: The run directory; must be empty or absent, unless ``resume``.
        config: YAML file with any of the options below; options given here win over it, and it over the recipe.
        resume: Continue the run in ``out`` exactly where it stopped.
        **options: The fields of ``PretrainConfig``. ``model`` also takes a MatGL model, which is not changed.

    Returns:
        Where the exports are.

    Raises:
        MatGLSSLError: One of ``matgl_ssl.errors``, naming the fix.
    """
    file = read_yaml(config) if config else {}
    model = options.get("model", file.get("model"))
    run = RunDirectory(out)
    stored = run.stored_config() if resume else {}
    settings = pretraining_settings(file, dict(options), describe(data), config, stored)
    use(settings.acceleration)
    team = Team(settings)
    if team.leads and not resume:
        run.refuse_if_used()
    with team.at_work(pretrain, {"data": data, "out": out, "config": config, "resume": resume, **options}):
        base = model if isinstance(model, nn.Module) else None
        task, checkpoint = team.in_turn(lambda: _prepared(settings, data, base, run, team, resume))
        fit(task, run, checkpoint)
        return team.first(lambda: _export(task, run))


def pretraining_task(crystals: CrystalDataset, model: Any, **options: Any) -> Task:
    """What ``pretrain`` would train on crystals that were checked, for ``fit`` without a run directory.

    Args:
        crystals: The crystals; what their recipe computes of them is computed.
        model: As for ``pretrain``.
        **options: Its options.

    Raises:
        MatGLSSLError: As ``pretrain``.
    """
    base = model if isinstance(model, nn.Module) else None
    settings = pretraining_settings({}, {"model": model, **options}, crystals.source, None, {})
    encoder, mixture = initialise(lambda: _build(settings, base), settings.seed)
    crystals = crystals.select_labels([] if settings.teacher else mixture.labels)
    return _prepare(encoder, mixture, crystals, base or settings.model, settings, Team(settings))


def _prepared(
    settings: PretrainConfig, data: Any, base: nn.Module | None, run: RunDirectory, team: Team, resume: bool
) -> tuple[Task, Path | None]:
    """What is trained, and the checkpoint to resume from."""
    checkpoint = run.resume(settings) if resume else None
    encoder, mixture, crystals, report = chosen(settings, data, base)
    if team.leads:
        if not resume:
            run.start(settings)
        report.tell(report.write(run.path / "skipped.json"))
    return _prepare(encoder, mixture, crystals, base or settings.model, settings, team), checkpoint


def chosen(
    settings: PretrainConfig, data: Any, base: nn.Module | None
) -> tuple[Encoder, Mixture, CrystalDataset, CheckReport]:
    """The model with its pretexts, the crystals that it is pretrained on, and what is left out of them.

    Raises:
        MatGLSSLError: As ``pretrain``.
    """
    encoder, mixture = initialise(lambda: _build(settings, base), settings.seed)
    if settings.teacher and not mixture.labels:
        raise ConfigError(f"Recipe {settings.recipe!r} uses no labels: leave out --teacher.")
    columns = [] if settings.teacher else list(mixture.labels)
    computed = [] if settings.teacher else [target.column for target in mixture.targets]  # its copies have others
    crystals, report = checked_crystals(
        _select(read_source(data, columns=columns, computed=computed, units=settings.units), settings),
        encoder,
        settings,
        labels=columns,
    )
    if len(crystals) < 2:
        raise DataError("Pretraining needs at least two crystals: one to train on and one to validate on.")
    return encoder, mixture, crystals, report


def pretraining_settings(
    file: dict[str, Any], options: dict[str, Any], data: str, path: Any, stored: dict[str, Any]
) -> PretrainConfig:
    """The configuration: of the run that is resumed or of the recipe, of the file, and the options."""
    given = {**file, **options}
    if isinstance(given.get("model"), nn.Module):
        given["model"] = describe(given["model"])
    own = [] if "pretexts" in options else file.get("pretexts", [])
    if own and given.get("recipe") != file.get("recipe"):
        raise ConfigError(
            f"{path} has pretexts of its own ({', '.join(p['name'] for p in own)}), which win over --recipe "
            f"{given['recipe']}. Leave out --recipe, or take recipe and pretexts out of the file."
        )
    settings = PretrainConfig.build(stored or _recipe(given), given, {"data": data})
    if not settings.pretexts:
        raise ConfigError(f"Recipe {settings.recipe!r} names no pretexts.")
    if stored and settings.teacher and is_imported(settings.teacher) and "teacher" not in given:
        raise ConfigError(f"The run's teacher is code, which only you may name: add --teacher {settings.teacher}.")
    return settings


def _prepare(
    encoder: Encoder, mixture: Mixture, crystals: CrystalDataset, start: str | nn.Module, config: PretrainConfig,
    team: Team,
) -> Task:  # fmt: skip
    """Everything that is computed once before training."""
    if not config.teacher:  # before the split, so that another seed finds them in the cache
        crystals = with_targets(crystals, mixture.targets, num_workers=config.num_workers, cluster=config.cluster)
    split = random_split(len(crystals), config.val_fraction, config.seed)
    parts = [taught(crystals.select(rows), mixture, config, team) for rows in split]
    mixture.prepare(parts[0])
    build = encoder.graph_builder()
    train, val = (
        batches(ViewDataset(part, build, mixture.views, config.seed), config, shuffle=shuffle, ranks=rank_and_world())
        for part, shuffle in zip(parts, (True, False), strict=True)
    )
    logger.info(
        "Pretraining %s on %d crystals (%d held out) with %s.",
        encoder.architecture.name, *map(len, parts), ", ".join(p.name for p in config.pretexts),
    )  # fmt: skip
    module = PretrainingModule(
        encoder, mixture, optimizer=config, total_steps=train.steps(config.epochs), log_every=config.log_every
    )
    facts = data_facts(mixture.labels, train=parts[0], val=parts[1]) | weights_facts(model=start)
    if mixture.targets:
        facts["formulas of the computed targets"] = ", ".join(target.column for target in mixture.targets)
    return Task(module, config, train, val, facts, [CollapseMonitor()], team, trained_elements(parts[0], start))


def _recipe(given: dict[str, Any]) -> dict[str, Any]:
    """The options that a recipe sets. Those of a run, which are whole, do without its recipe's file."""
    whole = "pretexts" in given
    name = str(given.get("recipe") or (OWN if whole else PretrainConfig.model_fields["recipe"].default))
    if whole and (name == OWN or (name.endswith((".yaml", ".yml")) and not Path(name).exists())):
        return {"recipe": name}
    return load_recipe(name)


def _build(config: PretrainConfig, model: Any) -> tuple[Encoder, Mixture]:
    """The encoder and its pretexts, in that order of random numbers."""
    trains_output = any(registry.load("pretexts", p.name).trains_output for p in config.pretexts)
    if model is None and config.model in ARCHITECTURES:
        model = new_model(config.model, config.model_args)
    elif model is None and config.model.startswith("in memory"):
        raise ConfigError(
            f"This run was started from a model {config.model}: resume it in Python, with the same model."
        )
    elif model is None:
        loaded = load_model(config.model, trained_with=config.trained_with, prefer=("encoder", "potential", "model"))
        model = bare_model(loaded)
    else:
        model = copy_model(bare_model(model))
    refuse_other_arguments(model, config.model_args)
    if trains_output and (energy := architecture_of(model).extensive) and not is_extensive(model):
        # The readout is for intensive targets: the encoder gets a fresh one that sums over atoms.
        model = copy_model(model, fresh=architecture_of(model).readout_modules, **energy)
    encoder = Encoder(model, state_labels(model, config.state_attr, 1))
    names = [p.name for p in config.pretexts]
    pretexts = {p.name: build_pretext(p.name, encoder, p.arguments) for p in config.pretexts}
    if len(pretexts) < len(names):
        raise ConfigError(f"A recipe names each pretext once, not {', '.join(names)}.")
    return encoder, Mixture(pretexts, {p.name: p.weight for p in config.pretexts})


def _select(crystals: CrystalDataset, config: PretrainConfig) -> CrystalDataset:
    """The subset the options ask for."""
    n, rejected = len(crystals), crystals.rejected
    if config.exclude_formulas_of:
        crystals = crystals.exclude_formulas(read_source(config.exclude_formulas_of, columns=[]).formulas())
    if config.max_atoms:
        crystals = crystals.select(np.flatnonzero(crystals.sizes() <= config.max_atoms))
    if n and not len(crystals):
        raise DataError(f"--exclude-formulas-of or --max-atoms leaves none of {n} crystals: drop or raise it.")
    if config.n_crystals and config.n_crystals < len(crystals):
        crystals = crystals.select(random_split(len(crystals), config.n_crystals / len(crystals), config.seed)[1])
    if len(crystals) < n:
        logger.info("The options select %d of %d crystals.", len(crystals), n)
    return CrystalDataset(crystals.table, source=crystals.source, rejected=rejected)


def taught(crystals: CrystalDataset, mixture: Mixture, config: PretrainConfig, team: Team) -> CrystalDataset:
    """With the teacher's labels, if there is one; after the split, so that copies of a crystal stay on its side."""
    if not config.teacher:
        return crystals
    crystals = teacher_labels(
        crystals, config.teacher, arguments=config.teacher_args, trained_with=config.teacher_trained_with,
        copies=config.teacher_copies, sigma=config.teacher_sigma, strain=config.teacher_strain, seed=config.seed,
        num_workers=config.num_workers, cluster=config.cluster, device=team.device,
    )  # fmt: skip
    if not len(crystals):
        raise DataError(f"{config.teacher} can label none of the crystals: see the warnings.")
    return with_targets(crystals, mixture.targets, num_workers=config.num_workers, cluster=config.cluster)


def _export(task: Task, run: RunDirectory) -> PretrainResult:
    """Write plain MatGL models. A pretext may have trained a sum over atoms: then it is a potential as well."""
    module, config = cast("PretrainingModule", task.module), cast("PretrainConfig", task.config)
    encoder, mixture, n_crystals = module.encoder, module.mixture, len(task.train.dataset)
    model = without_dropout(encoder.model.to("cpu"))
    output = mixture.trained_output if is_extensive(model) else None
    targets = {target.column: repr(target) for target in mixture.targets}
    facts = {
        "recipe": config.recipe, "pretexts": [p.name for p in config.pretexts], "n_crystals": n_crystals,
        **provenance(task), **({"targets": targets} if targets else {}),
    }  # fmt: skip
    trained_on = cast("ViewDataset", task.train.dataset).crystals
    facts |= taught_lines(encoder, mixture, trained_on)
    readout = OUTPUT if mixture.trained_output else VECTOR if mixture.trains_readout else "untrained"
    path = save_model(model, run.path / "encoder", kind="encoder", readout=readout, **facts)
    potential = None
    if output:
        references = None if output.references is None else output.references.float().numpy()
        potential = save_model(
            Potential(model, data_std=output.scale, element_refs=references), run.path / "potential",
            kind="potential", readout=output.kind, unit=output.unit, **facts,
        )  # fmt: skip
    elif mixture.trained_output:
        logger.info(
            "No potential is exported: %s's output is intensive, and a potential's energy is a sum over atoms.",
            encoder.architecture.name,
        )
    with draw(run.path):
        _keep_shown(task, run)
    return PretrainResult(run.path, path, potential)


def _keep_shown(task: Task, run: RunDirectory) -> None:
    """Crystals for the report's map: the held-out ones, and training crystals where these are few."""
    encoder, room, kept = cast("PretrainingModule", task.module).encoder.to("cpu"), ON_MAP, []
    for part, loader in (("val", task.val), ("train", task.train)):
        crystals = cast("ViewDataset", cast("SeededLoader", loader).dataset).crystals
        crystals = crystals.select(sample(len(crystals), room)).select_labels([])
        room -= len(crystals)
        if len(crystals):
            rows = np.arange(len(crystals))
            vectors = crystal_vectors(encoder, ViewDataset(crystals, encoder.graph_builder(), [View()], 0), rows)
            kept.append(Kept(crystals, part, vectors=vectors, with_vectors=rows))
    keep_crystals(run.path, kept)
