"""The configuration of a run: one closed schema for YAML files, command-line flags and Python keywords.

Each field is written once, with its default, its meaning and its unit; ``mgl-ssl ... --help`` and the functions'
signatures are made from here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from matgl_ssl.config import Config
from matgl_ssl.renamed import LossName


class PretextConfig(Config):
    """One pretext of a recipe."""

    name: str = Field(description="name of the pretext (see `mgl-ssl list pretexts`)")
    weight: float = Field(1.0, description="weight of its loss")
    arguments: dict[str, Any] = Field(default_factory=dict, description="its keyword arguments")


class OptimizerConfig(Config):
    """AdamW and its schedule."""

    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after the warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps spent warming up")


class RunConfig(OptimizerConfig):
    """What pretraining and fine-tuning share."""

    model: str = Field("M3GNet", description="architecture name, saved model, run directory or hub name")
    model_args: dict[str, Any] = Field(default_factory=dict, description="constructor arguments of a new model")
    trained_with: Literal["pyg", "dgl"] | None = Field(
        None, description="graph library that a model without a matgl_ssl stamp was trained with"
    )
    state_attr: int | None = Field(
        None, ge=0, description="for a model with state labels (fidelities, for example), the label of all crystals"
    )
    data: str = Field("", description="crystals: a file, a folder, a table, or a Hugging Face data set")
    energy_unit: str | None = Field(
        None, description="unit of the label energy, if not eV: meV, Ha, Ry, kcal/mol, kJ/mol; or per atom, as eV/atom"
    )
    force_unit: str | None = Field(None, description="unit of the label forces, if not eV/Å: meV/Å, Ha/Bohr, Ry/Bohr")
    stress_unit: str | None = Field(
        None, description="unit of the label stress, if not eV/Å³ with tension positive: GPa, kbar, Ha/Bohr³; where "
        "compression is positive, as VASP has it, GPa-compression, kbar-compression",
    )  # fmt: skip
    epochs: int = Field(10, ge=0, description="passes over the training crystals")
    batch_size: int = Field(64, ge=1, description="crystals in a batch at most")
    max_edges: int | None = Field(
        None, ge=1, description="estimated edges in a batch at most; by default what only uncommonly large cells reach"
    )
    clip: float = Field(10.0, gt=0, description="largest gradient norm")
    seed: int = Field(0, ge=0, description="seed of weights, order, splits and views")
    num_workers: int = Field(0, ge=0, description="processes that build graphs ahead")
    cluster: str | None = Field(
        None, description="address of a Dask scheduler (tcp://host:8786): its workers compute targets and labels"
    )
    accelerator: str = Field("auto", description="where to train: auto, cpu, gpu, cuda or mps")
    devices: int | str = Field(1, description="how many devices, which (0,3 or cuda:1), or auto for all")
    num_nodes: int = Field(1, ge=1, description="machines, each with as many devices; started by torchrun or srun")
    strategy: Literal["auto", "ddp"] = Field("auto", description="how several devices train: Lightning's DDP")
    acceleration: Literal["off", "torch", "native"] | None = Field(
        None, description="run models through a compiled kernel (native), without it (torch), or MatGL's own code (off)"
    )
    log_every: int = Field(10, ge=1, description="steps between rows of metrics.csv")
    checkpoint_minutes: float = Field(5.0, gt=0, description="longest time between checkpoints")
    allow_changed_environment: bool = Field(
        False, description="with --resume: go on although matgl_ssl, MatGL, torch or another package changed since"
    )
    min_distance: float = Field(0.5, ge=0, description="crystals with atoms closer than this are skipped (Å)")

    @property
    def units(self) -> dict[str, str]:
        """The units of labels that were given."""
        given = {"energy": self.energy_unit, "force": self.force_unit, "stress": self.stress_unit}
        return {name: unit for name, unit in given.items() if unit is not None}

    @property
    def weights_option(self) -> str:
        """The option that starts another run from a run's weights."""
        return "--init-from" if "init_from" in type(self).model_fields else "--model"


class PretrainConfig(RunConfig):
    """Options of ``pretrain``."""

    recipe: str = Field("masked-atoms", description="recipe name (see `mgl-ssl list recipes`) or YAML file")
    pretexts: list[PretextConfig] = Field(default_factory=list, description="pretexts and their weights")
    val_fraction: float = Field(0.05, gt=0, lt=1, description="share of the crystals held out")
    max_atoms: int | None = Field(None, ge=1, description="leave out larger crystals")
    n_crystals: int | None = Field(None, ge=1, description="take a random subset of this size")
    exclude_formulas_of: str | None = Field(
        None, description="leave out every reduced formula that occurs in these crystals (the downstream task)"
    )
    teacher: str | None = Field(
        None,
        description="labels the crystals for energy-force-stress: MatGL potential (directory or hub name), registered "
        "teacher, or ASE calculator (module:class, which is imported)",
    )
    teacher_args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of an ASE calculator")
    teacher_trained_with: Literal["pyg", "dgl"] | None = Field(
        None, description="graph library that a teacher without a matgl_ssl stamp was trained with"
    )
    teacher_copies: int = Field(0, ge=0, description="perturbed copies of each crystal that the teacher labels too")
    teacher_sigma: float = Field(0.1, ge=0, description="displacement of the copies' atoms: standard deviation (Å)")
    teacher_strain: float = Field(0.02, ge=0, description="strain of the copies' cells: standard deviation")


class FinetuneConfig(RunConfig):
    """Options of ``finetune``."""

    model: str = Field("M3GNet", description="architecture of a new model (mgl-ssl list encoders)")
    init_from: str | None = Field(
        None, description="weights to start from: a run directory, saved model, name of a shipped encoder or of the "
        "hub, or scratch for random ones; without it, the shipped encoder of the architecture, if there is one",
    )  # fmt: skip
    node_embedding_from: str | None = Field(
        None, description="encoder whose frozen representation the node embedding takes in (a NEGNN)"
    )
    node_embedding_layers: list[int] = Field([0, 1], description="layers of that representation")
    node_embedding_mode: Literal["concat", "replace", "add"] = Field(
        "concat", description="how it enters: beside the element's embedding, instead of it, or added to it"
    )
    target: str = Field(description="label column to predict")
    unit: str | None = Field(None, description="unit of the target, for reports")
    transform: Literal["log10"] | None = Field(None, description="train on the logarithm of the target")
    extensive: bool = Field(False, description="the target is a sum over atoms (not for MEGNet), e.g. a total energy")
    readout: Literal["auto", "fresh", "carry", "keep"] = Field(
        "auto",
        description="keep the loaded readout, carry over what pretraining trained of it, or start a fresh one; "
        "auto keeps one that was trained for the target, and carries over what pretraining trained",
    )
    readout_start: Literal["auto", "line", "random"] = Field(
        "random",
        description="fresh layers of the readout start at random, or as the line along what the encoder was taught "
        "that fits the labels best; auto: as a line where the encoder says what it was taught",
    )
    freeze: int | None = Field(None, ge=0, description="freeze layers 0 to this one; the readout is always trained")
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning-rate factor from each layer to the one below")
    loss: LossName = Field("mae", description="loss on the standardised target")
    patience: int | None = Field(None, ge=1, description="stop after this many epochs without a better validation loss")
    selection: Literal["last", "best"] = Field("last", description="export the last weights or the best on validation")
    split: Literal["formula", "random", "shuffle"] = Field(
        "formula", description="keep all crystals of a reduced formula in one part, or split crystals one by one, by a "
        "hash of their ids or (as version 0.1 did) by a shuffle of all rows",
    )  # fmt: skip
    split_column: str | None = Field(None, description="column that holds fold numbers; without it, a fraction")
    fold: int = Field(0, description="fold to test on, with --split-column")
    test_fraction: float = Field(0.1, ge=0, lt=1, description="share of the crystals to test on")
    val_fraction: float = Field(
        0.0, ge=0, lt=1,
        description="share of the remaining crystals to validate on; 0.1 with --patience or --selection best",
    )  # fmt: skip
    val_data: str | None = Field(None, description="validation crystals from elsewhere")
    test_data: str | None = Field(None, description="test crystals from elsewhere")
    n_train: int | None = Field(None, ge=1, description="reveal only this many labels (training and validation)")
    epochs: int = Field(100, ge=0, description="passes over the training crystals")
    batch_size: int = Field(32, ge=1, description="crystals in a batch at most")

    @model_validator(mode="before")
    @classmethod
    def _hold_out_what_decides(cls, given: dict[str, Any]) -> dict[str, Any]:
        decides = given.get("patience") or given.get("selection") == "best"
        return {"val_fraction": 0.1, **given} if decides else given
