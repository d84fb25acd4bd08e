"""The configuration of a benchmark: tasks, arms, budgets, and the order in which the cells are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from matgl_ssl import registry
from matgl_ssl.config import Config, read_yaml
from matgl_ssl.errors import ConfigError, unknown
from matgl_ssl.recipes import fine_tuning
from matgl_ssl.renamed import RECIPES
from matgl_ssl.training.config import FinetuneConfig, PretrainConfig

from .baselines import DESCRIBED
from .descriptions import DESCRIPTIONS

LeakRule = Literal["formula", "structure", "none"]
Method = Literal["fine-tune", "ridge", "kernel-ridge", "mlp"]
Part = Literal["test", "validation"]
TRIVIAL = "trivial"
BASELINES = (TRIVIAL, *DESCRIBED)
DECIDED = (
    "target", "transform", "extensive", "data", "val_data", "test_data", "split_column", "fold", "test_fraction",
    "val_fraction", "n_train", "patience", "selection", "seed",
)  # fmt: skip
"""Options of ``finetune`` that tasks and rounds decide: all revealed labels are trained on, the last weights kept."""
SCRATCH, LONGER, SUPERVISED = "scratch", "scratch-longer", "supervised-formation-energy"


class TaskConfig(Config):
    """A labelled data set, and which part of it is tested on."""

    data: str = Field(description="crystals whose labels may be revealed")
    test_data: str | None = Field(None, description="crystals to test on; without it, folds of the data")
    target: str = Field(description="label column")
    quantity: str | None = Field(None, description="what the column is, if its name does not say it (see quantities)")
    unit: str = Field("", description="unit of the score")
    transform: Literal["log10"] | None = Field(None, description="the target is the logarithm of the column")
    per_atom: bool = Field(False, description="the target is the column divided by the number of atoms")
    fold_column: str | None = Field(None, description="column with the official folds")
    group: Literal["formula", "chemical-system"] = Field("formula", description="what no two folds share otherwise")


class CorpusConfig(Config):
    """What encoders are pretrained on."""

    data: str = Field(description="crystals")
    max_atoms: int | None = Field(None, ge=1, description="leave out larger crystals")
    leak_rule: LeakRule | None = Field(None, description="another leak rule than the benchmark's, for this corpus")


class ArmConfig(Config):
    """A way to a fine-tuned model, beside those that are known by name."""

    recipe: str | None = Field(None, description="pretraining recipe (name or YAML file)")
    supervised: str | None = Field(None, description="label column of the corpus to pretrain on instead")
    encoder_of: str | None = Field(None, description="another arm, whose encoder this one fine-tunes")
    node_embedding_of: str | None = Field(
        None, description="another arm, whose encoder's frozen vectors a new model's node embedding takes in (a NEGNN)"
    )
    chosen_from: list[str] = Field(
        default_factory=list, description="other arms, which are all run: it is the one of least validation error"
    )
    corpus: CorpusConfig | None = Field(None, description="another corpus than the others'")
    pretrainings: int = Field(
        1, ge=1, description="encoders, pretrained with as many seeds: cells of seed s have number s, modulo this"
    )
    pretrain: dict[str, Any] = Field(default_factory=dict, description="options of the pretraining")
    finetune: dict[str, Any] = Field(default_factory=dict, description="options of the fine-tuning")
    fit: dict[str, Any] | None = Field(
        None, description="options of fit, which combines learners, in place of a fine-tuning of the encoder alone"
    )
    layers: list[int | Literal["readout"]] = Field(
        default_factory=list,
        description="layers whose vectors a probe takes, one after the other; those of embed by default",
    )
    reduce: Literal["mean", "sum"] = Field("mean", description="how a probe's vector is made of the atoms' vectors")
    described_by: Literal[tuple(DESCRIPTIONS)] | None = Field(  # type: ignore[valid-type]
        None, description="numbers of a crystal that a probe takes instead of an encoder's vectors"
    )

    @property
    def vectors(self) -> dict[str, Any]:
        """What it says of a probe's vectors that is not as it is by default."""
        return self.model_dump(mode="json", include={"layers", "reduce", "described_by"}, exclude_defaults=True)

    @property
    def shared(self) -> str | None:
        """The arm whose encoder it takes."""
        return self.encoder_of or self.node_embedding_of


class RoundConfig(Config):
    """Cells that are run together; those of earlier rounds come first."""

    tasks: list[str] = Field(description="names of tasks")
    arms: list[str] = Field(description="names of arms")
    labels: list[int | Literal["all"]] = Field(description="numbers of revealed labels")
    encoders: list[str] = Field(default_factory=lambda: ["MEGNet"], description="architectures")
    seeds: list[int] = Field(
        default_factory=lambda: [0, 1, 2, 3, 4], description="seeds of weights and revealed labels"
    )
    folds: list[int] = Field(default_factory=lambda: [0], description="folds to test on")
    method: Method = Field("fine-tune", description="transfer, or a probe on frozen vectors")


class BenchmarkConfig(Config):
    """Options of ``benchmark``."""

    corpus: CorpusConfig = Field(description="what encoders are pretrained on")
    leak_rule: LeakRule = Field("formula", description="what is removed from the corpus because a task has it, too")
    tasks: dict[str, TaskConfig] = Field(description="the tasks by name")
    encoders: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="constructor arguments of the architectures, where not the default"
    )
    arms: dict[str, ArmConfig] = Field(default_factory=dict, description="further arms, or changes of known ones")
    pretrain: dict[str, Any] = Field(default_factory=dict, description="options of every pretraining")
    finetune: dict[str, Any] = Field(default_factory=dict, description="options of every fine-tuning")
    grid: list[dict[str, Any]] = Field([{}], min_length=1, description="options of the fine-tuning to choose from")
    grids: dict[int | Literal["all"], list[dict[str, Any]]] = Field(
        default_factory=dict, description="other grids for these numbers of labels"
    )
    validation_crystals: int = Field(100, ge=1, description="revealed labels to be validated on, over one fold or more")
    part: Part = Field("test", description="what is scored: validation keeps to the training part, for searches")
    compare: list[str] = Field([SCRATCH], description="arms that all others are compared with, a table each")
    mean_over: list[str] = Field(default_factory=list, description="tasks whose mean is the study's; all by default")
    headline: list[str] = Field(
        default_factory=list,
        description="arms that are one family of tests; the figure label-efficiency shows the first four",
    )
    longer_by: str = Field("intrinsic", description="the arm whose pretraining compute scratch-longer gets")
    rounds: list[RoundConfig] = Field(description="what to run, in this order")

    @model_validator(mode="after")
    def _names(self) -> Self:
        arms = self.known_arms()
        named = [*self.compare, *self.headline, *(name for part in self.rounds for name in part.arms)]
        for name in (*self.mean_over, *(name for part in self.rounds for name in part.tasks)):
            if name not in self.tasks:
                raise unknown("task", name, self.tasks)
        for name in named:
            if name not in arms:
                raise unknown("method", name, arms)
        for name in filter(None, (self.longer_by, *(arm.shared for arm in arms.values()))):
            if name not in arms:
                raise unknown("method", name, arms)
            if arms[name].recipe is None and arms[name].supervised is None:
                raise ConfigError(
                    f"longer_by, encoder_of, node_embedding_of: {name} has no pretraining. Name a method that has one."
                )
        for name in (name for arm in arms.values() for name in arm.chosen_from):
            if name not in arms:
                raise unknown("method", name, arms)
            if name in (LONGER, *BASELINES) or arms[name].chosen_from or arms[name].fit is not None:
                raise ConfigError(
                    f"chosen_from: {name} chooses nothing from the grid. Name methods that are fine-tuned."
                )
        for part in self.rounds:
            for name in part.arms if part.method == "fine-tune" else ():
                if arms[name].vectors:
                    raise ConfigError(f"{name} says what a probe takes (layers, reduce, described_by): give it one.")
            if part.method != "fine-tune":
                for name in part.arms:
                    if arms[name].node_embedding_of or arms[name].chosen_from or arms[name].fit is not None:
                        raise ConfigError(f"{name} has no vectors before it is fine-tuned: leave it out of a probe.")
        return self

    @model_validator(mode="after")
    def _parts(self) -> Self:
        for name, task in self.tasks.items():
            if task.test_data and task.fold_column:
                raise ConfigError(f"{name} is tested on test_data, or on the folds of fold_column: leave one out.")
            if task.test_data and any(part.folds != [0] for part in self.rounds if name in part.tasks):
                raise ConfigError(f"{name} has a test part of its own, fold 0: give it a round with no other folds.")
        return self

    @model_validator(mode="after")
    def _options(self) -> Self:
        """What nobody would look at is an error now, not after hours of pretraining."""
        PretrainConfig.build(self.pretrain)
        arms, grids = self.known_arms(), [self.grid, *self.grids.values()]
        for options in (self.finetune, *(arm.finetune for arm in self.arms.values()), *(o for g in grids for o in g)):
            FinetuneConfig.build({"target": ""}, options)
            if decided := [name for name in DECIDED if name in options]:
                raise ConfigError(f"{decided[0]} of finetune is set by the tasks and rounds: leave it out.")
        for part in self.rounds:
            for arm in (arms[member] for name in part.arms for member in (name, *arms[name].chosen_from)):
                made_by = arms[arm.shared] if arm.shared else arm
                if made_by.recipe or made_by.supervised:
                    given = [self.pretrain, made_by.pretrain, self.finetune]
                    given += [] if arm.node_embedding_of else [arm.finetune]  # a NEGNN is a model of its own
                    given += [options for n in part.labels for options in self.grid_for(n)]
                    if any({"model", "model_args"} & options.keys() for options in given):
                        raise ConfigError(
                            "Pretrained weights have the architecture of encoders: leave model and model_args out of "
                            "pretrain, finetune and grid, or leave methods with weights out of the round."
                        )
        return self

    def grid_for(self, n: int | Literal["all"]) -> list[dict[str, Any]]:
        """What to choose from with so many labels."""
        return self.grids.get(n, self.grid)

    def known_arms(self) -> dict[str, ArmConfig]:
        """Every arm that a round may name: the recipes, the baselines, and the configuration's own.

        A recipe is fine-tuned as its file says, where the arm does not say otherwise.
        """
        known = {name: ArmConfig() for name in (SCRATCH, LONGER, *BASELINES)}
        known[SUPERVISED] = ArmConfig(supervised="formation_energy_per_atom")
        known |= {name: ArmConfig(recipe=name) for name in registry.names("recipes")}
        known |= {old: known[new] for old, new in RECIPES.items()}
        for name, arm in self.arms.items():
            base = known.get(name, ArmConfig()).model_dump(exclude_unset=True)
            known[name] = made = ArmConfig(**{**base, **arm.model_dump(exclude_unset=True)})
            if sum(map(bool, (made.recipe or made.supervised, made.encoder_of, made.node_embedding_of))) > 1:
                raise ConfigError(
                    f"{name} has a pretraining of its own, or that of encoder_of or node_embedding_of, not both."
                )
            own = made.pretrain or made.corpus or made.pretrainings > 1
            if own and not (made.recipe or made.supervised):
                raise ConfigError(
                    f"{name} pretrains nothing: leave pretrain, pretrainings and corpus out, or give it a recipe."
                )
            if made.described_by and made.model_fields_set != {"described_by"}:
                raise ConfigError(f"{name} has no encoder (described_by): leave all else out of it.")
            if made.chosen_from and made.model_fields_set != {"chosen_from"}:
                raise ConfigError(f"{name} is one of chosen_from and has no options of its own: give it none.")
        scratch = {"finetune": known[SCRATCH].finetune | known[LONGER].finetune}
        known[LONGER] = known[LONGER].model_copy(update=scratch)
        for name, arm in known.items():
            if arm.recipe:
                known[name] = arm.model_copy(update={"finetune": fine_tuning(arm.recipe) | arm.finetune})
        return known


def read_benchmark(path: str | Path) -> dict[str, Any]:
    """The content of a benchmark's file.

    With ``data_of: other.yaml`` it has the corpus, the leak rule and the tasks of that file, named from its own folder,
    where it has none itself: studies of the same data can share encoders.

    Raises:
        ConfigError: If a file is missing, is not a mapping, or names itself, if through others.
    """
    content, path = read_yaml(path), Path(path)
    read = {path.resolve()}
    while (other := content.pop("data_of", None)) is not None:
        path = path.parent / str(other)
        if path.resolve() in read:
            raise ConfigError(f"data_of: {path} names itself. Name the file that has the corpus and the tasks.")
        read.add(path.resolve())
        theirs = read_yaml(path)
        content = {key: theirs[key] for key in ("corpus", "leak_rule", "tasks", "data_of") if key in theirs} | content
    return content
