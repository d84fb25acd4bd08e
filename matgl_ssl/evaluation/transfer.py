"""Fine-tuning many times on the same crystals: what ``finetune`` trains, without a run directory for each model.

Graphs are built once for all runs. The loop below is what Lightning does for ``finetune`` with all labels in training
and the last weights kept; a test holds the two together, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import REPRESENTATION, Graph
from matgl_ssl.crystals import CrystalDataset, check_structure
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import DataError, NonFiniteError
from matgl_ssl.hub import model_output, without_dropout
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.finetune import FinetuningModule, check_freeze, representation_of
from matgl_ssl.training.loader import GraphDataset, SeededLoader
from matgl_ssl.training.module import initialise
from matgl_ssl.training.start import start
from matgl_ssl.training.target import Standardisation
from matgl_ssl.training.trainer import deterministic_on_cpu
from matgl_ssl.views import View

TARGET = "target"
"""Label column of a task's crystals."""

_BATCH = 64


class GraphPool:
    """The graphs of a task's crystals for one kind of encoder, each built when it is first needed, and kept.

    Args:
        crystals: Crystals with the label ``target``.
        encoder: An encoder of that kind: its elements and cutoff count, its weights do not.
        min_distance: Crystals with atoms closer than this, in Å, are left out.
    """

    def __init__(self, crystals: CrystalDataset, encoder: Encoder, min_distance: float = 0.5) -> None:
        self.crystals = crystals
        self.graphs = GraphDataset(crystals, encoder.graph_builder(), [View()], 0, target=TARGET)
        self.graphs._keep = True  # few of the crystals of a large table are ever asked for
        self._limits: dict[str, Any] = {
            "element_types": encoder.element_types, "cutoff": encoder.cutoff, "min_distance": min_distance
        }  # fmt: skip
        self._usable: dict[int, bool] = {}

    def usable(self, rows: np.ndarray) -> np.ndarray:
        """The rows whose crystals an encoder can be trusted with, in order."""
        new = [int(row) for row in rows if int(row) not in self._usable]
        for row, crystal in zip(new, self.crystals.rows(new), strict=True):
            self._usable[row] = not check_structure(crystal, **self._limits)
        return np.array([row for row in rows if self._usable[int(row)]], dtype=np.int64)

    def at_rest(self, rows: np.ndarray) -> list[Graph]:
        """The graphs of some rows."""
        return [graph for (graph,) in self.graphs.__getitems__([(0, int(row)) for row in rows])]


class _Rows(Dataset[list[Graph]]):
    """Some rows of a pool, as the loader takes them, with a NEGNN's frozen vectors of their atoms if they are given."""

    def __init__(self, pool: GraphPool, rows: np.ndarray, vectors: Sequence[torch.Tensor] = ()) -> None:
        self.pool, self.rows, self.vectors, self.edges = pool, rows, vectors, pool.graphs.edges[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, int]) -> list[Graph]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        graphs = self.pool.at_rest(self.rows[[row for _, row in items]])
        if self.vectors:
            for (_, row), graph in zip(items, graphs, strict=True):
                graph.atom[REPRESENTATION] = self.vectors[row]
        return [[graph] for graph in graphs]


def _loader(rows: _Rows, config: FinetuneConfig, *, shuffle: bool) -> SeededLoader:
    return SeededLoader(
        cast("Any", rows), batch_size=config.batch_size, seed=config.seed, shuffle=shuffle, max_edges=config.max_edges
    )


def fine_tune(pool: GraphPool, rows: np.ndarray, config: FinetuneConfig) -> nn.Module:
    """Fine-tune a new model, or one from ``config.init_from``, on all of some rows.

    A NEGNN's frozen vectors are computed once.

    Args:
        pool: The crystals.
        rows: Rows to train on; those that an encoder cannot be trusted with are left out.
        config: As for ``finetune``, less what concerns splits, validation, logs and files.

    Returns:
        A plain model in the label's unit, in eval mode.

    Raises:
        ConfigError: If more is to be frozen than there is.
        DataError: If no row is left.
        NonFiniteError: If the loss or the gradient is not finite.
    """
    rows = pool.usable(rows)
    if not len(rows):
        raise DataError("None of the revealed crystals can be given to the encoder. Reveal more labels.")
    begin = initialise(lambda: start(config, config.init_from, config.node_embedding_from), config.seed)
    encoder = Encoder(begin.model)
    check_freeze(encoder, config)
    labels = pool.crystals.column(TARGET)[rows].astype(float)
    standardisation = Standardisation.keep(labels) if begin.keep else Standardisation.fit(labels)
    if begin.keep:
        standardisation.unfold_from(begin.model)
    vectors = [
        of_atoms
        for frozen in representation_of(begin.model)
        for first in range(0, len(rows), _BATCH)
        for of_atoms in frozen.of_graphs(pool.at_rest(rows[first : first + _BATCH]))
    ]
    loader = _loader(_Rows(pool, rows, vectors), config, shuffle=True)
    module = FinetuningModule(encoder, standardisation, config, total_steps=loader.steps(config.epochs))
    on_gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    module.to("cuda" if on_gpu else "cpu")
    accelerate(encoder.model)
    module.train()
    with deterministic_on_cpu(not on_gpu):
        _train(module, loader, config)
    model: Any = without_dropout(encoder.model.to("cpu"))
    standardisation.fold_into(model)
    return accelerate(model)


def _train(module: FinetuningModule, loader: SeededLoader, config: FinetuneConfig) -> None:
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for _ in range(config.epochs):
        for batches in loader:
            loss, _ = module.score(batches)
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trained, config.clip)
            if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
                raise NonFiniteError(f"Training diverged at a learning rate of {config.lr:g}. Try a smaller one.")
            optimizer.step()
            scheduler.step()


def predict_rows(model: nn.Module, pool: GraphPool, rows: np.ndarray, config: FinetuneConfig) -> np.ndarray:
    """What a model says of rows, all of them usable, in order: shape ``(len(rows),)``."""
    values = [
        model_output(model, batch, None).double().cpu().numpy()
        for (batch,) in _loader(_Rows(pool, rows), config, shuffle=False)
    ]
    return np.concatenate([np.zeros(0), *values])
