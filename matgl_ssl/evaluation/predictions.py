"""Every prediction of a benchmark, beside its scores: for other errors, averages and resamplings without a rerun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgl_ssl._files import atomic_path

from .plan import Cell, Plan

FOLDER = "predictions"
CELL = ("encoder", "arm", "n_labels", "method", "seed", "fold")
"""Columns that name a cell of a task; ``n_labels`` is text."""


def write_predictions(plan: Plan, out: Path) -> None:
    """A Parquet file a task with a row a predicted crystal: the cell, the crystal's id, its label, what was predicted.

    ``pandas.read_parquet(out / "predictions")`` reads them all. Rows of cells that were finished elsewhere stay.
    """
    for task in dict.fromkeys(cell.task for cell in plan.cells):
        path = out / FOLDER / f"{task}.parquet"
        found = {_name(cell): (cell, values) for cell in plan.cells if cell.task == task
                 if (values := _values(plan, cell)) is not None}  # fmt: skip
        if not found:
            continue
        tables = [_table(plan, *of_cell) for of_cell in found.values()]
        if path.exists():
            old = pq.read_table(path).cast(tables[0].schema)
            names = zip(*(old[name].to_pylist() for name in CELL), strict=True)
            tables.append(old.filter(pa.array([name not in found for name in names], pa.bool_())))
        table = pa.concat_tables(tables).sort_by([(name, "ascending") for name in CELL])
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", compression_level=19)


def _name(cell: Cell) -> tuple[Any, ...]:
    return (cell.encoder, cell.arm, str(cell.n_labels), cell.method, cell.seed, cell.fold)


def _values(plan: Plan, cell: Cell) -> list[float] | None:
    finished = plan.store.get(cell.unit) if cell.unit else None
    return finished["result"].get("predictions") if finished else None


def _table(plan: Plan, cell: Cell, values: list[float]) -> pa.Table:
    task = plan.runner.task(cell.task)
    rows = task.scored_rows(plan.config.part, cell.n_labels, cell.seed, cell.fold)
    ids = np.array(task.crystals.ids)[rows]
    columns = {name: pa.array([value] * len(rows), pa.int16() if isinstance(value, int) else pa.string())
               for name, value in zip(CELL, _name(cell), strict=True)}  # fmt: skip
    return pa.table(columns | {
        "id": pa.array(ids.tolist(), pa.string()),
        "task": pa.array([cell.task] * len(rows), pa.string()),
        "label": pa.array(task.labels[rows], pa.float32()),
        "prediction": pa.array(values, pa.float32()),
    })  # fmt: skip
