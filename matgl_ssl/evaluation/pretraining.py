"""Pretraining for a benchmark: every arm's encoder on the same guarded corpus."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.columns import quantity
from matgl_ssl.crystals import CrystalDataset, read_crystals
from matgl_ssl.crystals.batching import estimated_edges
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.recipes import load_recipe
from matgl_ssl.training.config import FinetuneConfig, PretextConfig, PretrainConfig
from matgl_ssl.training.finetune import finetune
from matgl_ssl.training.pretrain import pretrain
from matgl_ssl.training.start import SCRATCH

from .config import ArmConfig, CorpusConfig
from .tasks import locate

CUTOFF = 5.0
"""Of the edges that compute is counted in, in Å."""


def pretraining_config(
    arm: ArmConfig, common: dict[str, Any], encoder: dict[str, Any], asked: str
) -> PretrainConfig | FinetuneConfig:
    """How an arm's encoder is made: from a recipe, or by fine-tuning on a column of the corpus.

    Args:
        arm: An arm with a recipe or a supervised column.
        common: Options of every pretraining; they win over the recipe, and the arm's over them.
        encoder: ``model`` and ``model_args``.
        asked: The quantity that the task asks for. Of several label columns, those that are it are left out.
    """
    given = {**common, **encoder}
    if arm.recipe:
        recipe = load_recipe(arm.recipe)
        given["model_args"] = {**recipe.get("model_args", {}), **encoder.get("model_args", {})}
        config = PretrainConfig.build(recipe, {**given, **arm.pretrain, "recipe": arm.recipe})
        return config.model_copy(update={"pretexts": [_of_others(pretext, asked) for pretext in config.pretexts]})
    shared = {k: v for k, v in given.items() if k in FinetuneConfig.model_fields}
    own = {"target": arm.supervised, "test_fraction": 0.0, "val_fraction": 0.05, "batch_size": 64}
    return FinetuneConfig.build(own, shared, arm.pretrain)


def _of_others(pretext: PretextConfig, asked: str) -> PretextConfig:
    """A pretext without the columns that are what a task asks for; as it is if it has no others."""
    columns = pretext.arguments.get("columns", {}) if pretext.name == "property-labels" else {}
    others = {name: kind for name, kind in columns.items() if quantity(name) != asked}
    return pretext.model_copy(update={"arguments": {**pretext.arguments, "columns": others}}) if others else pretext


def mixture_of(config: PretrainConfig) -> Mixture:
    """The pretexts of a pretraining, on an encoder of their own."""
    encoder = Encoder(new_model(config.model, config.model_args))
    built = {p.name: build_pretext(p.name, encoder, p.arguments) for p in config.pretexts}
    return Mixture(built, {p.name: p.weight for p in config.pretexts})


def labels_used(config: PretrainConfig | FinetuneConfig) -> tuple[str, ...]:
    """Label columns of the corpus that a pretraining learns from."""
    if isinstance(config, FinetuneConfig):
        return (config.target,)
    return () if config.teacher else mixture_of(config).labels


def read_corpus(config: CorpusConfig, root: Path, columns: tuple[str, ...] = ()) -> CrystalDataset:
    """The corpus before the guard, with no more label columns than asked for."""
    crystals = read_crystals(locate(config.data, root), columns=list(columns))
    if config.max_atoms is None:
        return crystals
    return crystals.select(np.flatnonzero(crystals.sizes() <= config.max_atoms))


def edges_passed(config: PretrainConfig | FinetuneConfig, corpus: CrystalDataset) -> float:
    """Edges that a pretraining passes through its encoder, forwards and backwards: what its compute is counted in.

    Args:
        config: From ``pretraining_config``.
        corpus: The guarded corpus.
    """
    n, views = len(corpus), 1
    if isinstance(config, PretrainConfig):
        n, views = min(n, config.n_crystals or n), len(mixture_of(config).views)
    return float(estimated_edges(corpus, CUTOFF).mean()) * (n * (1 - config.val_fraction)) * config.epochs * views


def pretrained(config: PretrainConfig | FinetuneConfig, corpus: CrystalDataset, out: Path) -> dict[str, Any]:
    """Pretrain, or resume the pretraining.

    Args:
        config: From ``pretraining_config``.
        corpus: The guarded corpus with the labels it asks for.
        out: The run directory.

    Returns:
        ``weights``: the export's directory, relative to ``out``.
    """
    run: dict[str, Any] = {"data": corpus, "out": out, "resume": (out / "config.yaml").exists()}
    options = config.model_dump(mode="json", exclude={"data"})
    with quiet():
        if isinstance(config, PretrainConfig):
            weights = pretrain(**run, **options).encoder
        else:
            weights = finetune(**run, **{**options, "init_from": SCRATCH}).model
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return {"weights": weights.relative_to(out).as_posix(), "n_crystals": len(corpus)}


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of runs only: a benchmark has hundreds of them."""
    names = ("matgl_ssl.training", "matgl_ssl.targets", "matgl_ssl.crystals", "lightning", "lightning.pytorch")
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
