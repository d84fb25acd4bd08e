"""How a cell is run: one arm, one task, one number of labels, one seed, one fold, one error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer

from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.batching import estimated_edges
from matgl_ssl.encoders import Encoder
from matgl_ssl.ensemble.fit import fit
from matgl_ssl.ensemble.predict import predict
from matgl_ssl.errors import DataError, NonFiniteError
from matgl_ssl.hub import evaluating, load_with_stamp, new_model
from matgl_ssl.inference.embed import chosen_layers, encode
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig
from matgl_ssl.training.module import initialise
from matgl_ssl.training.pool import TARGET, GraphPool, fine_tune, predict_rows

from .baselines import DESCRIBED, median
from .config import TRIVIAL, ArmConfig, BenchmarkConfig, CorpusConfig
from .descriptions import DESCRIPTIONS
from .leaks import Removed, leaking, refuse_same_quantity
from .pretraining import CUTOFF, edges_passed, pretrained, read_corpus
from .probes import GRID, kernel_ridge, mlp, ridge
from .tasks import Labels, Task, read_task, validation_folds

_UNLIMITED = 1e6
"""Minutes that a fit has: what is compared must not depend on how busy the machine is."""
PROBES = {
    "ridge": lambda seed: ridge(),
    "kernel-ridge": lambda seed: kernel_ridge(alphas=GRID[4::2], gammas=GRID[4::2], cv=5),
    "mlp": lambda seed: mlp(seed=seed),
}


@dataclass
class Runner:
    """What one process keeps from cell to cell: tasks, their graphs and their descriptors.

    Attributes:
        config: The benchmark.
        root: The folder that data are named from.
        runs: Where pretrained encoders are.
    """

    config: BenchmarkConfig
    root: Path
    runs: Path
    _tasks: dict[str, Task] = field(default_factory=dict)
    _pools: dict[tuple[str, ...], GraphPool] = field(default_factory=dict)
    _descriptors: dict[tuple[str, Callable[[Crystal], np.ndarray]], dict[int, np.ndarray]] = field(default_factory=dict)
    _vectors: dict[tuple[str, ...], dict[int, np.ndarray]] = field(default_factory=dict)
    _allowed: set[tuple[str, ...]] = field(default_factory=set)

    @cached_property
    def arms(self) -> dict[str, ArmConfig]:
        """The arms by name."""
        return self.config.known_arms()

    def task(self, name: str) -> Task:
        """A task, read once."""
        if name not in self._tasks:
            self._tasks[name] = read_task(name, self.config.tasks[name], self.root)
        return self._tasks[name]

    def model(self, encoder: str) -> dict[str, Any]:
        """An architecture with its arguments."""
        return {"model": encoder, "model_args": self.config.encoders.get(encoder, {})}

    def settings(self, encoder: str, arm: str, seed: int, **more: Any) -> FinetuneConfig:
        """How an arm is fine-tuned."""
        own = self.arms[arm].finetune
        if "model_args" in own:  # of a NEGNN
            own = {**own, "model_args": {**self.model(encoder)["model_args"], **own["model_args"]}}
        return FinetuneConfig.build(
            {"target": TARGET, "readout_start": "random", **self.model(encoder)},
            self.config.finetune,
            own,
            more,
            {"seed": seed},
        )

    def guard(self, corpus: CorpusConfig) -> dict[str, Any]:
        """What leaks out of a corpus into any task."""
        tasks = [self.task(name) for name in self.config.tasks]
        return asdict(leaking(read_corpus(corpus, self.root), tasks, corpus.leak_rule or self.config.leak_rule))

    def pretrain(
        self,
        arm: ArmConfig,
        config: PretrainConfig | FinetuneConfig,
        labels: tuple[str, ...],
        removed: Removed,
        name: str,
    ) -> dict[str, Any]:
        """An encoder, under ``runs/<name>``."""
        return pretrained(config, self._guarded(arm, labels, removed), self.runs / name)

    def edges_passed(self, arm: ArmConfig, config: PretrainConfig | FinetuneConfig, removed: Removed) -> float:
        """See ``edges_passed``."""
        return edges_passed(config, self._guarded(arm, (), removed))

    def refuse(self, arm: ArmConfig, labels: tuple[str, ...], task: Task) -> None:
        """See ``refuse_same_quantity``."""
        corpus = arm.corpus or self.config.corpus
        key = task.name, repr(corpus), *labels
        if labels and key not in self._allowed:
            refuse_same_quantity(labels, task.quantity, task.crystals, TARGET, self._corpus(arm, labels))
            self._allowed.add(key)

    def trial(self, task: str, settings: FinetuneConfig, n: Labels, fold: int) -> dict[str, Any]:
        """Error on held-out labels of those that a fold reveals to seed 0, infinite if training diverges."""
        data, errors = self.task(task), []
        for train, val in validation_folds(data.revealed(n, 0, fold), self.config.validation_crystals):
            try:
                errors.append(np.abs(self._transfer(data, settings, train, val) - data.labels[val]))
            except NonFiniteError:
                return {"mae": math.inf}
        return {"mae": float(np.concatenate(errors).mean())}

    def cell(
        self,
        task: str,
        arm: str,
        n: Labels,
        seed: int,
        fold: int,
        *,
        method: str,
        settings: FinetuneConfig,
        extra_edges: float = 0.0,
    ) -> dict[str, Any]:
        """Train on the revealed labels, and score the test part, or what a search validates on.

        Args:
            task: The task's name.
            arm: The arm's name.
            n: Revealed labels.
            seed: Of weights and of which labels are revealed.
            fold: The test part.
            method: ``"fine-tune"``, or a probe.
            settings: How to fine-tune, and from which weights.
            extra_edges: Compute to be added: edges passed through the encoder.
        """
        data = self.task(task)
        train, test = data.revealed(n, seed, fold), data.scored_rows(self.config.part, n, seed, fold)
        labels, found = data.labels[train], dict[str, Any]()
        if extra_edges:
            per_epoch = float(estimated_edges(data.crystals.select(train), CUTOFF).sum())
            settings = settings.model_copy(update={"epochs": settings.epochs + math.ceil(extra_edges / per_epoch)})
        if arm == TRIVIAL:
            predicted = median(labels, len(test))
        elif arm in DESCRIBED:
            describe, model = DESCRIBED[arm]
            fitted = model(seed).fit(self._described(data, describe, train), labels)
            predicted = fitted.predict(self._described(data, describe, test))
        elif (options := self.arms[arm].fit) is not None:
            predicted, found = self._combined(data, options, settings, train, test)
        elif method == "fine-tune":
            predicted = self._transfer(data, settings, train, test)
        else:
            predicted = self._probe(data, self.arms[arm], settings, train, test, method)
        mae = float(np.abs(predicted - data.labels[test]).mean())
        return {
            "mae": mae, "epochs": settings.epochs, "n_train": len(train), "n_test": len(test),
            "predictions": [float(f"{value:.5g}") for value in predicted], **found,
        }  # fmt: skip

    def _corpus(self, arm: ArmConfig, labels: tuple[str, ...]) -> CrystalDataset:
        return read_corpus(arm.corpus or self.config.corpus, self.root, labels)

    def _guarded(self, arm: ArmConfig, labels: tuple[str, ...], removed: Removed) -> CrystalDataset:
        corpus = self._corpus(arm, labels)
        kept = corpus.select(np.setdiff1d(np.arange(len(corpus)), removed.rows))
        if not len(kept):
            raise DataError(f"{corpus.source}: {removed}. Nothing is left: give this corpus another leak_rule.")
        return kept

    def _pool(self, task: Task, settings: FinetuneConfig) -> GraphPool:
        key = task.name, settings.model, repr(settings.model_args), str(settings.min_distance)
        if key not in self._pools:
            encoder = Encoder(new_model(settings.model, settings.model_args))
            self._pools[key] = GraphPool(task.crystals, encoder, settings.min_distance)
        return self._pools[key]

    def _transfer(self, task: Task, settings: FinetuneConfig, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Predictions; the revealed labels' median for crystals that encoders cannot be given."""
        pool = self._pool(task, settings)
        model = fine_tune(pool, train, settings)
        usable = np.isin(test, pool.usable(test))
        predicted = median(task.labels[train], len(test))
        predicted[usable] = predict_rows(model, pool, test[usable], settings)
        if not np.isfinite(predicted).all():  # the last step was one too many
            raise NonFiniteError(f"Training diverged at a learning rate of {settings.lr:g}. Try a smaller one.")
        return predicted

    def _combined(
        self, task: Task, options: dict[str, Any], settings: FinetuneConfig, train: np.ndarray, test: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """What ``fit`` makes of the revealed labels, how often its intervals hold, and how its plain model does."""
        with TemporaryDirectory() as folder:
            given: dict[str, Any] = {
                "data": task.crystals.select(train), "target": TARGET, "out": Path(folder) / "fit",
                "encoders": [settings.init_from] if settings.init_from else [], "seed": settings.seed,
                "accelerator": settings.accelerator, "budget": _UNLIMITED, "num_workers": 0,
            }  # fmt: skip
            result = fit(**given | options).targets[TARGET]
            crystals, plain = task.crystals.select(test), result.plain
            said: list[Any] = predict(model=Path(folder) / "fit", data=crystals)
            alone: list[Any] = predict(model=plain, data=crystals) if plain else []
        value, low, high = np.array([(each.value, each.lower, each.upper) for each in said], dtype=float).T
        labels = task.labels[test]
        found = {
            "covered": float(((low <= labels) & (labels <= high)).mean()), "width": float(np.nanmean(high - low)),
            "out_of_fold": result.error, "members": result.members, "weights": result.weights,
        }  # fmt: skip
        if alone:
            found["plain_model"] = float(np.nanmean(np.abs(np.array([each.value for each in alone]) - labels)))
        return np.where(np.isfinite(value), value, median(task.labels[train], len(test))), found

    def _probe(
        self, task: Task, arm: ArmConfig, settings: FinetuneConfig, train: np.ndarray, test: np.ndarray, method: str
    ) -> np.ndarray:
        """The same on frozen vectors, by default those of ``embed``; random weights for scratch. Or on descriptors."""
        seen, asked = train, test
        if arm.described_by:
            described = self._described(task, DESCRIPTIONS[arm.described_by], np.concatenate([seen, asked]))
            vectors = SimpleImputer(keep_empty_features=True).fit(described[: len(seen)]).transform(described)
        else:
            pool = self._pool(task, settings)
            seen, asked = pool.usable(train), pool.usable(test)
            vectors = self._embedded(task, arm, settings, np.concatenate([seen, asked]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a perceptron that is stopped early is one as well
            probe = PROBES[method](settings.seed).fit(vectors[: len(seen)], task.labels[seen])
        predicted = median(task.labels[train], len(test))
        predicted[np.isin(test, asked)] = probe.predict(vectors[len(seen) :])
        return predicted

    def _embedded(self, task: Task, arm: ArmConfig, settings: FinetuneConfig, rows: np.ndarray) -> np.ndarray:
        """Frozen vectors of rows, each made once for an encoder."""
        start = settings.init_from or f"seed {settings.seed}"
        key = task.name, settings.model, repr(settings.model_args), start, repr(arm.vectors)
        known = self._vectors.setdefault(key, {})
        new = np.array([row for row in rows if int(row) not in known], dtype=np.int64)
        if len(new):
            if settings.init_from:
                model, stamp = load_with_stamp(settings.init_from, prefer=("encoder", "model"))
            else:
                model, stamp = initialise(lambda: new_model(settings.model, settings.model_args), settings.seed), {}
            encoder = Encoder(model)
            layers = chosen_layers(encoder, stamp, arm.layers or None, "crystal")
            with evaluating(encoder):
                parts = encode(encoder, task.crystals.select(new), layers, "crystal", arm.reduce, None, 64)
                known |= zip(new.tolist(), np.concatenate([part for _, part in parts]), strict=True)
        return np.stack([known[int(row)] for row in rows])

    def _described(self, task: Task, describe: Callable[[Crystal], np.ndarray], rows: np.ndarray) -> np.ndarray:
        known = self._descriptors.setdefault((task.name, describe), {})
        new = [int(row) for row in rows if int(row) not in known]
        known |= zip(new, map(describe, task.crystals.rows(new)), strict=True)
        return np.stack([known[int(row)] for row in rows])


def best(trials: list[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """The options of least validation error, the first of equals.

    Raises:
        NonFiniteError: If every trial diverged.
    """
    options, error = min(trials, key=lambda trial: trial[1])
    if not math.isfinite(error):
        raise NonFiniteError("Training diverged with all options of the grid. Add a smaller learning rate.")
    return dict(options)
