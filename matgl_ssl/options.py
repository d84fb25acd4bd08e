"""Options of the verbs as type checkers see them. ``tests/test_options.py`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import nn


class PretrainKeywords(TypedDict, total=False):
    """Options of ``pretrain``."""

    lr: float
    weight_decay: float
    schedule: Literal["cosine", "constant"]
    warmup: float
    model: str | Path | nn.Module
    model_args: dict[str, Any]
    trained_with: Literal["pyg", "dgl"] | None
    state_attr: int | None
    energy_unit: str | None
    force_unit: str | None
    stress_unit: str | None
    epochs: int
    batch_size: int
    max_edges: int | None
    clip: float
    seed: int
    num_workers: int
    cluster: str | None
    accelerator: str
    devices: int | str
    num_nodes: int
    strategy: Literal["auto", "ddp"]
    acceleration: Literal["off", "torch", "native"] | None
    log_every: int
    checkpoint_minutes: float
    allow_changed_environment: bool
    min_distance: float
    recipe: str | Path
    pretexts: list[dict[str, Any]]
    val_fraction: float
    max_atoms: int | None
    n_crystals: int | None
    exclude_formulas_of: str | Path | None
    teacher: str | Path | None
    teacher_args: dict[str, Any]
    teacher_trained_with: Literal["pyg", "dgl"] | None
    teacher_copies: int
    teacher_sigma: float
    teacher_strain: float


class FinetuneKeywords(TypedDict, total=False):
    """Options of ``finetune``."""

    lr: float
    weight_decay: float
    schedule: Literal["cosine", "constant"]
    warmup: float
    model: str | Path | nn.Module
    model_args: dict[str, Any]
    trained_with: Literal["pyg", "dgl"] | None
    state_attr: int | None
    energy_unit: str | None
    force_unit: str | None
    stress_unit: str | None
    epochs: int
    batch_size: int
    max_edges: int | None
    clip: float
    seed: int
    num_workers: int
    cluster: str | None
    accelerator: str
    devices: int | str
    num_nodes: int
    strategy: Literal["auto", "ddp"]
    acceleration: Literal["off", "torch", "native"] | None
    log_every: int
    checkpoint_minutes: float
    allow_changed_environment: bool
    min_distance: float
    init_from: str | Path | nn.Module | None
    node_embedding_from: str | Path | nn.Module | None
    node_embedding_layers: list[int]
    node_embedding_mode: Literal["concat", "replace", "add"]
    target: str
    unit: str | None
    transform: Literal["log10"] | None
    extensive: bool
    readout: Literal["auto", "fresh", "carry", "keep"]
    readout_start: Literal["auto", "line", "random"]
    freeze: int | None
    layer_decay: float
    loss: Literal["mae", "mse", "huber"]
    patience: int | None
    selection: Literal["last", "best"]
    split: Literal["formula", "random", "shuffle"]
    split_column: str | None
    fold: int
    test_fraction: float
    val_fraction: float
    val_data: Any
    test_data: Any
    n_train: int | None


class FitKeywords(TypedDict, total=False):
    """Options of ``fit``."""

    target: str | list[str]
    unit: str | None
    task: Literal["regression", "classification"]
    encoders: str | list[str]
    fine_tunings: int
    finetune: dict[str, Any]
    unlabelled: str | Path
    budget: float
    loss: Literal["mae", "mse"]
    coverage: float
    per_atom: bool
    lower_bound: float | None
    upper_bound: float | None
    weight_column: str | None
    n_folds: int
    seed: int
    num_workers: int | None
    accelerator: str


class BenchmarkKeywords(TypedDict, total=False):
    """Options of ``benchmark``."""

    out: str | Path | None
    runs: str | Path
    only: dict[str, Any]
    jobs: int
    leak_rule: Literal["formula", "structure", "none"] | None
    cluster: str | None
    rerun_stale: bool
    report_only: bool
