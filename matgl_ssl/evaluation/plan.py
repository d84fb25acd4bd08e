"""From a configuration to units of work: guarded corpora, pretrainings, trials of the grid, and cells, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matgl_ssl._backend import BACKEND
from matgl_ssl._files import digest
from matgl_ssl.columns import quantity
from matgl_ssl.config import Config
from matgl_ssl.hub import is_intact
from matgl_ssl.recipes import read_recipe
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig

from .config import BASELINES, LONGER, SCRATCH, ArmConfig, CorpusConfig
from .leaks import Removed
from .pretraining import labels_used, pretraining_config
from .runner import Runner, best
from .store import Store, Unit
from .tasks import Labels, locate


class Cell(NamedTuple):
    """One number of the study.

    Attributes:
        unit: What computes it; None where the leak guard refuses to.
    """

    task: str
    encoder: str
    arm: str
    n_labels: Labels
    seed: int
    fold: int
    method: str
    unit: Unit | None

    def matches(self, only: Mapping[str, Any]) -> bool:
        """Whether the cell has the wanted values."""
        for name, wanted in only.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if str(getattr(self, name)) not in map(str, values):
                return False
        return True


@dataclass
class _Pretraining:
    """The pretraining of an arm's encoder, and what it is trained on."""

    arm: ArmConfig
    config: PretrainConfig | FinetuneConfig
    labels: tuple[str, ...]
    guard: Unit
    unit: Unit

    @property
    def folder(self) -> str:
        """Where it goes; other code goes elsewhere."""
        name = digest([self.unit.name, self.unit.made_with], 12)
        return f"{self.unit.where['arm']}-{self.unit.where['encoder']}-{name}"


class Plan:
    """All cells of a benchmark, and what they need.

    Args:
        runner: Runs them.
        store: Keeps them.

    Attributes:
        cells: Every cell once, in the order of the rounds.
        guards: The leak guards of all corpora, by unit.
    """

    def __init__(self, runner: Runner, store: Store) -> None:
        self.runner, self.config, self.store = runner, runner.config, store
        self._units: dict[str, Unit] = {}
        self._hashes: dict[str, str] = {}
        self._pretrainings: dict[tuple[str, str, str, int], _Pretraining] = {}
        self.guards: dict[str, Unit] = {}
        self.guard = self._guard(self.config.corpus)
        cells: dict[tuple[Any, ...], Cell] = {}
        for part in self.config.rounds:
            keys = (
                (task, encoder, arm, n, seed, fold, part.method)
                for encoder in part.encoders for n in part.labels for task in part.tasks for arm in part.arms
                for fold in part.folds for seed in part.seeds
            )  # fmt: skip
            for key in keys:
                if key not in cells:
                    cells[key] = Cell(*key, unit=self._cell(*key))
        self.cells = list(cells.values())

    def units(self, only: Mapping[str, Any]) -> list[Unit]:
        """The units of some cells, what an unfinished unit needs right before it, each once."""
        ordered: dict[str, Unit] = {}

        def add(unit: Unit) -> None:
            if (
                unit.kind == "pretraining"
                and (made := self.store.get(unit))
                and not is_intact(self._folder(made["result"]))
            ):
                self.store.forget(unit)  # somebody made room, or it is damaged
            if unit.name not in ordered:
                for need in unit.needs if self.store.get(unit) is None else ():
                    add(need)
                ordered[unit.name] = unit

        for cell in self.cells:
            if cell.unit and cell.matches(only):
                add(cell.unit)
        return list(ordered.values())

    def published(self) -> list[Unit]:
        """Guards, trials and cells: what is left of a benchmark when its encoders are gone."""
        return [unit for unit in self._units.values() if unit.kind != "pretraining"]

    def _unit(self, unit: Unit) -> Unit:
        """The same work is the same unit."""
        return self._units.setdefault(unit.name, unit)

    def _facts(self, config: Config) -> dict[str, Any]:
        """A part of the configuration with the hashes of the files it names."""
        facts = _said(config)
        names = [facts[name] for name in ("data", "test_data") if facts.get(name)]
        for name in names:
            if name not in self._hashes:
                self._hashes[name] = _hash(Path(locate(name, self.runner.root)))
        return {**facts, "files": [self._hashes[name] for name in names]}

    def _guard(self, corpus: CorpusConfig) -> Unit:
        rule = corpus.leak_rule or self.config.leak_rule
        tasks = {name: self._facts(task) for name, task in self.config.tasks.items()}
        facts = {"corpus": self._facts(corpus), "tasks": tasks}
        run, label = partial(self.runner.guard, corpus), f"leak guard of {corpus.data}"
        unit = self._unit(Unit("corpus", label, {"rule": rule}, run, facts=facts, sources="guard"))
        return self.guards.setdefault(unit.name, unit)

    def _pretraining(self, encoder: str, name: str, task: str, seed: int = 0) -> _Pretraining | None:
        """The pretraining of an arm's encoder for a task and a seed; None for arms without."""
        name = self.runner.arms[name].shared or name
        arm = self.runner.arms[name]
        if arm.recipe is None and arm.supervised is None:
            return None
        key = encoder, name, self._asked(task), seed % arm.pretrainings
        if key not in self._pretrainings:
            if key[-1]:
                arm = arm.model_copy(update={"pretrain": {**arm.pretrain, "seed": key[-1]}})
            config = pretraining_config(arm, self.config.pretrain, self.runner.model(encoder), key[2])
            self._pretrainings[key] = self._pretraining_as(key, arm, config)
        return self._pretrainings[key]

    def _pretraining_as(
        self, key: tuple[str, str, str, int], arm: ArmConfig, config: PretrainConfig | FinetuneConfig
    ) -> _Pretraining:
        """One pretraining serves all tasks that it may have the same labels for."""
        encoder, name, _, number = key
        guard, labels = self.guard if arm.corpus is None else self._guard(arm.corpus), labels_used(config)
        facts = {
            "backend": BACKEND, "guard": guard.name, "labels": labels, "supervised": arm.supervised,
            "recipe": read_recipe(arm.recipe) if arm.recipe and arm.recipe.endswith((".yaml", ".yml")) else arm.recipe,
            "options": {**self.config.pretrain, **self.runner.model(encoder), **arm.pretrain},
        }  # fmt: skip
        label, where = f"pretraining {name} {encoder}", {"arm": name, "encoder": encoder}
        if number:
            label, where = f"{label}, seed {number}", {**where, "seed": str(number)}
        run = partial(self._pretrain, key)
        unit = self._unit(Unit("pretraining", label, where, run, (guard,), facts, "pretrained"))
        return _Pretraining(arm, config, labels, guard, unit)

    def _asked(self, task: str) -> str:
        """The quantity that a task asks for."""
        spec = self.config.tasks[task]
        return quantity(spec.target, spec.quantity)

    def _pretrain(self, key: tuple[str, str, str, int]) -> dict[str, Any]:
        made = self._pretrainings[key]
        removed, out = Removed(**self.store.result(made.guard)), made.folder
        return {**self.runner.pretrain(made.arm, made.config, made.labels, removed, out), "folder": out}

    def _cell(self, task: str, encoder: str, arm: str, n: Labels, seed: int, fold: int, method: str) -> Unit | None:
        label = f"{task} {encoder} {arm} {n} labels, seed {seed}, fold {fold}"
        where: dict[str, Any] = {"task": task, "arm": arm, "n_labels": n, "seed": seed, "fold": fold}
        where |= {} if self.config.part == "test" else {"part": self.config.part}
        if arm in BASELINES:  # one number for all encoders and methods
            run = partial(self._run_cell, task, encoder, arm, n, seed, fold, "fine-tune", [], None, None)
            return self._unit(Unit("cell", label, where, run, (), self._task_facts(task), "baseline"))
        where |= {"encoder": encoder, "method": method}
        if self.runner.arms[arm].described_by:
            run = partial(self._run_cell, task, encoder, arm, n, seed, fold, method, [], None, None)
            facts = {**self._task_facts(task), "vectors": self.runner.arms[arm].vectors}
            return self._unit(Unit("cell", label, where, run, (), facts, "described"))
        if self.runner.arms[arm].chosen_from:
            return self._chosen(task, encoder, arm, n, seed, fold, label, where)
        pretraining = self._pretraining(encoder, arm, task, seed)
        if pretraining and self._asked(task) in map(quantity, pretraining.labels):
            return None
        reference = self._pretraining(encoder, self.config.longer_by, task) if arm == LONGER else None
        tuned = SCRATCH if arm == LONGER else arm
        trials: list[Unit] = []
        combines = self.runner.arms[arm].fit
        if method == "fine-tune" and combines is None:
            grid = self.config.grid_for(n)
            where |= {"grid": grid, "validation_crystals": self.config.validation_crystals}
            trials = [self._trial(task, encoder, tuned, n, fold, choice) for choice in grid] if len(grid) > 1 else []
        facts = self._arm_facts(task, encoder, arm, pretraining)
        facts |= {"longer by": reference.unit.facts} if reference else {}
        facts |= {"vectors": vectors} if (vectors := self.runner.arms[arm].vectors) else {}
        facts |= {} if combines is None else {"fit": combines}
        run = partial(self._run_cell, task, encoder, arm, n, seed, fold, method, trials, pretraining, reference)
        needs = [*([pretraining.unit] if pretraining else []), *([reference.guard] if reference else []), *trials]
        sources = "pretrained" if pretraining or reference else "scratch"
        sources = sources if combines is None else "combined"
        return self._unit(Unit("cell", label, where, run, tuple(needs), facts, sources))

    def _chosen(
        self, task: str, encoder: str, arm: str, n: Labels, seed: int, fold: int, label: str, where: dict[str, Any]
    ) -> Unit | None:
        """The cell of whichever of some arms has the least validation error."""
        names, grid = self.runner.arms[arm].chosen_from, self.config.grid_for(n)
        cells = {name: cell for name in names if (cell := self._cell(task, encoder, name, n, seed, fold, "fine-tune"))}
        if len(cells) < len(set(names)):
            return None
        trials = [(name, self._trial(task, encoder, name, n, fold, choice)) for name in names for choice in grid]

        def run() -> dict[str, Any]:
            tried = [({"arm": name, **t.where["choice"]}, float(self.store.result(t)["mae"])) for name, t in trials]
            choice = best(tried)
            return {**self.store.result(cells[choice["arm"]]), "choice": choice, "tried": tried}

        needs = (*cells.values(), *(trial for _, trial in trials))
        facts = {"chosen from": [need.name for need in needs]}
        return self._unit(Unit("cell", label, where, run, needs, facts, "pretrained"))

    def _task_facts(self, task: str) -> dict[str, Any]:
        return {"backend": BACKEND, "task": self._facts(self.config.tasks[task])}

    def _arm_facts(self, task: str, encoder: str, arm: str, pretraining: _Pretraining | None) -> dict[str, Any]:
        """What the configuration itself says of an arm; what a recipe says more is known by the package's sources."""
        names = (SCRATCH, LONGER) if arm == LONGER else (arm,)
        return {
            **self._task_facts(task),
            "encoder": self.runner.model(encoder),
            "finetune": self.config.finetune,
            "arm": [_said(self.config.arms[name]).get("finetune", {}) for name in names if name in self.config.arms],
            "pretraining": pretraining.unit.facts if pretraining else None,
            "negnn": bool(self.runner.arms[arm].node_embedding_of),
        }

    def _trial(self, task: str, encoder: str, arm: str, n: Labels, fold: int, choice: dict[str, Any]) -> Unit:
        pretraining = self._pretraining(encoder, arm, task)
        where = {
            "task": task, "encoder": encoder, "arm": arm, "n_labels": n, "fold": fold, "choice": choice,
            "validation_crystals": self.config.validation_crystals,
        }  # fmt: skip
        label = f"{task} {encoder} {arm} {n} labels, fold {fold}, trial of {choice}"
        run = partial(self._run_trial, task, encoder, arm, n, fold, choice, pretraining)
        facts, needs = self._arm_facts(task, encoder, arm, pretraining), (pretraining.unit,) if pretraining else ()
        return self._unit(Unit("trial", label, where, run, needs, facts, "pretrained" if pretraining else "scratch"))

    def _run_trial(
        self, task: str, encoder: str, arm: str, n: Labels, fold: int, choice: dict[str, Any],
        pretraining: _Pretraining | None,
    ) -> dict[str, Any]:  # fmt: skip
        if pretraining:
            self.runner.refuse(pretraining.arm, pretraining.labels, self.runner.task(task))
        settings = self.runner.settings(encoder, arm, 0, **choice, **self._weights(arm, pretraining))
        return self.runner.trial(task, settings, n, fold)

    def _run_cell(
        self, task: str, encoder: str, arm: str, n: Labels, seed: int, fold: int, method: str, trials: list[Unit],
        pretraining: _Pretraining | None, reference: _Pretraining | None,
    ) -> dict[str, Any]:  # fmt: skip
        if pretraining:
            self.runner.refuse(pretraining.arm, pretraining.labels, self.runner.task(task))
        tried = [(trial.where["choice"], float(self.store.result(trial)["mae"])) for trial in trials]
        tuned = method == "fine-tune" and self.runner.arms[arm].fit is None
        only = self.config.grid_for(n)[0] if tuned else {}  # a probe has nothing of the grid
        choice = best(tried) if tried else dict(only)
        settings = self.runner.settings(encoder, arm, seed, **choice, **self._weights(arm, pretraining))
        extra = 0.0
        if reference:  # its compute is known without its encoder
            removed = Removed(**self.store.result(reference.guard))
            extra = self.runner.edges_passed(reference.arm, reference.config, removed)
        scored = self.runner.cell(task, arm, n, seed, fold, method=method, settings=settings, extra_edges=extra)
        return {**scored, "choice": choice, "tried": tried}

    def _weights(self, arm: str, pretraining: _Pretraining | None) -> dict[str, str]:
        if pretraining is None:
            return {}
        option = "node_embedding_from" if self.runner.arms[arm].node_embedding_of else "init_from"
        return {option: str(self._folder(self.store.result(pretraining.unit)))}

    def _folder(self, result: Mapping[str, Any]) -> Path:
        """Where a finished pretraining left its encoder."""
        return self.runner.runs / result["folder"] / result["weights"]


def _said(config: Config) -> dict[str, Any]:
    """What is not as it is by default: an option that is new must not make finished units others."""
    return config.model_dump(mode="json", exclude_defaults=True)


def _hash(path: Path) -> str:
    """Of a file's content, or of a folder's files with their names; the name of what is neither."""
    if path.is_dir():
        inside = [(str(file.relative_to(path)), _hash(file)) for file in sorted(path.rglob("*")) if file.is_file()]
        return digest([repr(inside)], 20)
    return digest([path.read_bytes()], 20) if path.is_file() else path.name
