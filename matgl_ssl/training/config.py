"""The configuration of a run: one closed schema for YAML files, command-line flags and Python keywords.

Each field is written once, with its default, its meaning and its unit; ``mgl-ssl ... --help`` and the functions'
signatures are made from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps in which the learning rate grows to its peak"
    )


class RunConfig(OptimizerConfig):
    """What pretraining and fine-tuning share."""

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": ("model", "model_args", "trained_with", "state_attr"),
        "data": ("data", "energy_unit", "force_unit", "stress_unit", "min_distance"),
        "training": (
            "epochs", "batch_size", "max_edges", "lr", "schedule", "warmup", "weight_decay", "clip", "seed",
        ),
        "devices and processes": (
            "accelerator", "devices", "num_nodes", "strategy", "num_workers", "cluster", "acceleration",
        ),
        "run directory": ("log_every", "checkpoint_minutes", "allow_changed_environment"),
    }  # fmt: skip
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        "model_args": "those of MatGL",
        "trained_with": "as the model says",
        "state_attr": "none",
        "energy_unit": "eV",
        "force_unit": "eV/Å",
        "stress_unit": "eV/Å³, tension positive",
        "max_edges": "2 x average batch, at least 30,000",
        "cluster": "none",
        "accelerator": "auto, CUDA if there is any, else the CPU",
        "num_workers": "0, the process that trains",
        "acceleration": "what MATGL_SSL_ACCELERATION says, else native",
    }

    model: str = Field("M3GNet", description="architecture name, saved model, run directory or hub name")
    model_args: dict[str, Any] = Field(default_factory=dict, description="constructor arguments of a new model")
    trained_with: Literal["pyg", "dgl"] | None = Field(
        None, description="graph library of a model that matgl_ssl did not save"
    )
    state_attr: int | None = Field(
        None, ge=0, description="for a model with state labels (such as fidelities), the label of all crystals"
    )
    data: str = Field("", description="crystals: a file, a folder, a table, or a Hugging Face data set")
    energy_unit: str | None = Field(
        None, description="unit of the label energy: meV, Ha, Ry, kcal/mol, kJ/mol; or per atom, as eV/atom"
    )
    force_unit: str | None = Field(None, description="unit of the label forces: meV/Å, Ha/Bohr, Ry/Bohr")
    stress_unit: str | None = Field(
        None, description="unit of the label stress: GPa, kbar, Ha/Bohr³; if compression is positive, as in VASP, "
        "GPa-compression or kbar-compression",
    )  # fmt: skip
    epochs: int = Field(10, ge=0, description="passes over the training crystals")
    batch_size: int = Field(64, ge=1, description="largest number of crystals in a batch")
    max_edges: int | None = Field(
        None, ge=1, description="largest number of (estimated) edges in a batch; larger crystals get a batch each"
    )
    clip: float = Field(10.0, gt=0, description="largest norm of the gradient")
    seed: int = Field(0, ge=0, description="seed of initial weights, order, splits and views")
    num_workers: int = Field(0, ge=0, description="processes that build graphs in advance")
    cluster: str | None = Field(
        None, description="address of a Dask scheduler (tcp://host:8786) whose workers compute targets and labels"
    )
    accelerator: str = Field("auto", description="where to train: auto, cpu, gpu, cuda or mps")
    devices: int | str = Field(1, description="number of devices, or which ones (0,3 or cuda:1), or auto for all")
    num_nodes: int = Field(
        1, ge=1, description="number of machines with as many devices each, started by torchrun or srun"
    )
    strategy: Literal["auto", "ddp"] = Field("auto", description="how several devices train: Lightning's DDP")
    acceleration: Literal["off", "torch", "native"] | None = Field(
        None, description="code of the models: compiled kernel (native), no compiling (torch), or MatGL's own (off)"
    )
    log_every: int = Field(10, ge=1, description="steps from one row of metrics.csv to the next")
    checkpoint_minutes: float = Field(5.0, gt=0, description="longest time between checkpoints (minutes)")
    allow_changed_environment: bool = Field(
        False, description="resume although the version of matgl_ssl, MatGL, torch or another package changed"
    )
    min_distance: float = Field(0.5, ge=0, description="leave out crystals that have two atoms closer than this (Å)")

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

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "pretexts": ("recipe", "pretexts"),
        **RunConfig.SECTIONS,
        "choice of crystals": ("val_fraction", "max_atoms", "n_crystals", "exclude_formulas_of"),
        "labels by a teacher": (
            "teacher", "teacher_args", "teacher_trained_with", "teacher_copies", "teacher_sigma", "teacher_strain",
        ),
    }  # fmt: skip
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        **RunConfig.DEFAULTS,
        "pretexts": "those of the recipe",
        "max_atoms": "no limit",
        "n_crystals": "all",
        "exclude_formulas_of": "none",
        "teacher": "none",
        "teacher_args": "none",
        "teacher_trained_with": "as the model says",
    }

    recipe: str = Field("masked-atoms", description="recipe name (see `mgl-ssl list recipes`) or YAML file")
    pretexts: list[PretextConfig] = Field(
        default_factory=list, description="pretexts and their weights, instead of a recipe"
    )
    val_fraction: float = Field(0.05, gt=0, lt=1, description="share of the crystals to validate on")
    max_atoms: int | None = Field(None, ge=1, description="leave out crystals with more atoms")
    n_crystals: int | None = Field(None, ge=1, description="take a random subset of this size")
    exclude_formulas_of: str | None = Field(
        None,
        description="leave out every crystal whose reduced formula occurs in these crystals, for example your test set",
    )
    teacher: str | None = Field(
        None,
        description="what labels the crystals for energy-force-stress: a MatGL potential (directory or hub name), a "
        "registered teacher (mgl-ssl list teachers), or an ASE calculator (module:class, which is imported)",
    )
    teacher_args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of an ASE calculator")
    teacher_trained_with: Literal["pyg", "dgl"] | None = Field(
        None, description="graph library of a teacher that matgl_ssl did not save"
    )
    teacher_copies: int = Field(
        0, ge=0, description="number of perturbed copies of each crystal that the teacher also labels"
    )
    teacher_sigma: float = Field(
        0.1, ge=0, description="standard deviation of the displacements of the copies' atoms (Å)"
    )
    teacher_strain: float = Field(0.02, ge=0, description="standard deviation of the strain of the copies' cells")


class FinetuneConfig(RunConfig):
    """Options of ``finetune``."""

    SECTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "target": ("target", "unit", "transform", "extensive", "loss"),
        **RunConfig.SECTIONS,
        "start": (
            "init_from", "readout", "readout_start", "freeze", "layer_decay", "node_embedding_from",
            "node_embedding_layers", "node_embedding_mode",
        ),
        "choice of crystals": (
            "split", "test_fraction", "val_fraction", "split_column", "fold", "val_data", "test_data", "n_train",
        ),
        "end of training": ("patience", "selection"),
    }  # fmt: skip
    DEFAULTS: ClassVar[Mapping[str, str]] = {
        **RunConfig.DEFAULTS,
        "init_from": "the shipped encoder of --model, or scratch if there is none",
        "node_embedding_from": "none",
        "unit": "known for common columns, else none",
        "transform": "none",
        "freeze": "none",
        "patience": "no early stop",
        "split_column": "none, split by fractions",
        "val_data": "split from --data",
        "test_data": "split from --data",
        "n_train": "all",
        "val_fraction": "0, or 0.1 with --patience or --selection best",
    }

    model: str = Field("M3GNet", description="architecture of a new model (mgl-ssl list encoders)")
    init_from: str | None = Field(
        None, description="weights to start from: a run directory, a saved model, a name of a shipped "
        "encoder or of the hub, or scratch for random weights",
    )  # fmt: skip
    node_embedding_from: str | None = Field(
        None, description="encoder whose frozen vectors enter the node embedding (a NEGNN)"
    )
    node_embedding_layers: list[int] = Field([0, 1], description="layers of these frozen vectors")
    node_embedding_mode: Literal["concat", "replace", "add"] = Field(
        "concat", description="how they enter: beside the embedding of the element, instead of it, or added to it"
    )
    target: str = Field(description="label column to predict")
    unit: str | None = Field(None, description="unit of the target, for reports")
    transform: Literal["log10"] | None = Field(None, description="train on the logarithm of the target")
    extensive: bool = Field(
        False, description="the target is a sum over atoms, for example a total energy (not for MEGNet)"
    )
    readout: Literal["auto", "fresh", "carry", "keep"] = Field(
        "auto",
        description="keep the loaded readout, carry over the part that pretraining trained, or start a fresh one; "
        "auto keeps a readout that was trained for this target, and else carries over",
    )
    readout_start: Literal["auto", "line", "random"] = Field(
        "random",
        description="start of fresh readout layers: random, or a linear fit of the labels to the quantity that the "
        "encoder was pretrained on (line); auto is line if the encoder names such quantities",
    )
    freeze: int | None = Field(None, ge=0, description="freeze layers 0 to this one; the readout is always trained")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="layer-wise decay: factor of the learning rate from each layer to the one below"
    )
    loss: LossName = Field("mae", description="loss on the standardised target")
    patience: int | None = Field(
        None, ge=1, description="stop after this number of epochs without a better validation loss"
    )
    selection: Literal["last", "best"] = Field(
        "last", description="export the last weights, or those with the best validation loss"
    )
    split: Literal["formula", "random", "shuffle"] = Field(
        "formula", description="how to split: keep all crystals of a reduced formula together (formula), or split by a "
        "hash of ids (random) or by a shuffle of all rows (shuffle, as in version 0.1)",
    )  # fmt: skip
    split_column: str | None = Field(None, description="column that holds the number of each crystal's fold")
    fold: int = Field(0, description="fold to test on, with --split-column")
    test_fraction: float = Field(0.1, ge=0, lt=1, description="share of the crystals to test on")
    val_fraction: float = Field(
        0.0, ge=0, lt=1,
        description="share of the other crystals to validate on",
    )  # fmt: skip
    val_data: str | None = Field(None, description="validation crystals from another source")
    test_data: str | None = Field(None, description="test crystals from another source")
    n_train: int | None = Field(None, ge=1, description="use only this number of labels for training and validation")
    epochs: int = Field(100, ge=0, description="passes over the training crystals")
    batch_size: int = Field(32, ge=1, description="largest number of crystals in a batch")

    @model_validator(mode="before")
    @classmethod
    def _hold_out_what_decides(cls, given: dict[str, Any]) -> dict[str, Any]:
        decides = given.get("patience") or given.get("selection") == "best"
        return {"val_fraction": 0.1, **given} if decides else given
