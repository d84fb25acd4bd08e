"""Fine-tuning many times on the same crystals: their graphs are built once, and stay in memory from run to run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from matgl_ssl.acceleration import accelerate
from matgl_ssl.backends import REPRESENTATION, Graph
from matgl_ssl.crystals import CrystalDataset, check_structure
from matgl_ssl.crystals.tables import in_order
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import DataError
from matgl_ssl.hub import model_output
from matgl_ssl.views import View

from .config import FinetuneConfig
from .loader import GraphDataset, Samples
from .supervised import WEIGHT, begin, prepare, representation_of, trained_model
from .trainer import batches, fit

logger = logging.getLogger(__name__)

TARGET = "target"
"""Label column of a task's crystals."""

_BATCH = 64


class GraphPool:
    """The graphs of a task's crystals for one kind of encoder, each built when it is first needed, and kept.

    Args:
        crystals: Crystals with the label ``target``, or without it if ``fine_tune`` is given labels.
        encoder: An encoder of that kind: its elements and cutoff count, its weights do not.
        min_distance: Crystals with atoms closer than this, in Å, are left out.
    """

    def __init__(self, crystals: CrystalDataset, encoder: Encoder, min_distance: float = 0.5) -> None:
        if TARGET not in crystals.label_names:
            crystals = with_labels(crystals, np.full(len(crystals), np.nan))
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
            found = check_structure(crystal, **self._limits)
            self._usable[row] = not found
            for finding in found:
                logger.warning("Left out: %s.", finding.message)
        return np.array([row for row in rows if self._usable[int(row)]], dtype=np.int64)

    def at_rest(self, rows: np.ndarray) -> list[Graph]:
        """The graphs of some rows."""
        return [graph for (graph,) in self.graphs.__getitems__([(0, int(row)) for row in rows])]


class _Rows(Samples):
    """Some rows of a pool, as the loader takes them.

    Args:
        pool: The pool.
        rows: The rows.
        vectors: A NEGNN's frozen vectors of their atoms, if it is one.
        labels: Other labels than the pool's by name, each ``(len(rows),)``.
    """

    def __init__(
        self, pool: GraphPool, rows: np.ndarray, vectors: Sequence[torch.Tensor] = (),
        labels: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.pool, self.rows, self.vectors, self.edges = pool, rows, vectors, pool.graphs.edges[rows]
        self.labels = labels

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[list[Graph]]:
        """Copies of the graphs that the pool keeps."""
        graphs = self.pool.at_rest(self.rows[[row for _, row in items]])
        if self.vectors:
            for (_, row), graph in zip(items, graphs, strict=True):
                graph.atom[REPRESENTATION] = self.vectors[row]
        if self.labels:
            for (_, row), graph in zip(items, graphs, strict=True):
                graph.labels = {name: float(values[row]) for name, values in self.labels.items()}
        return [[graph] for graph in graphs]


def with_labels(crystals: CrystalDataset, labels: np.ndarray) -> CrystalDataset:
    """The crystals with the one label ``target``, ``(len(crystals),)``."""
    table = in_order(crystals.select_labels([]).table)
    return CrystalDataset(table.add_column(TARGET, labels), source=crystals.source)


def fine_tune(
    pool: GraphPool, rows: np.ndarray, config: FinetuneConfig, labels: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> nn.Module:  # fmt: skip
    """What ``finetune`` trains on all of some rows, without a run directory; a NEGNN's frozen vectors are made once.

    Args:
        pool: The crystals.
        rows: Rows to train on; those that an encoder cannot be trusted with are left out.
        config: As for ``finetune``, less what concerns splits, validation, logs and files.
        labels: Labels of the rows instead of the pool's, ``(len(rows),)``.
        weights: How much each of these labels counts in the loss, ``(len(rows),)``; None if all count the same.

    Returns:
        A plain model in the label's unit, in eval mode.

    Raises:
        ConfigError: If more is to be frozen than there is.
        DataError: If no row is left.
        NonFiniteError: If the loss or the gradient is not finite.
    """
    asked, rows = rows, pool.usable(rows)
    if not len(rows):
        raise DataError("None of the revealed crystals can be given to the encoder. Reveal more labels.")
    begun, encoder = begin(config, config.init_from, config.node_embedding_from)
    vectors = [
        of_atoms
        for frozen in representation_of(begun.model)
        for first in range(0, len(rows), _BATCH)
        for of_atoms in frozen.of_graphs(pool.at_rest(rows[first : first + _BATCH]))
    ]
    crystals = pool.crystals.select(rows)
    taken: dict[str, np.ndarray] = {}
    if labels is not None:
        kept = np.isin(asked, rows)
        taken = {TARGET: labels[kept]} | ({} if weights is None else {WEIGHT: weights[kept] / weights[kept].mean()})
        crystals = with_labels(crystals, taken[TARGET])
    task = prepare(begun, encoder, crystals, _Rows(pool, rows, vectors, taken), config)
    fit(task)
    return accelerate(trained_model(task.module))


def predict_rows(model: nn.Module, pool: GraphPool, rows: np.ndarray, config: FinetuneConfig) -> np.ndarray:
    """What a model says of rows, all of them usable, in order: shape ``(len(rows),)``."""
    values = [
        model_output(model, batch, None).double().cpu().numpy() for (batch,) in batches(_Rows(pool, rows), config)
    ]
    return np.concatenate([np.zeros(0), *values])
