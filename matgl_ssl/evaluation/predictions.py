"""Every prediction of a benchmark, beside its scores: for other errors, averages and resamplings without a rerun.

Ids and labels are written once for the crystals that many cells predict, in ``crystals.parquet``. An arm's predictions
for a task are one file, with a row a cell: whole numbers of ``step``, which is at most a ten thousandth of the labels'
standard deviation. That is less than two bytes a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from matgl_ssl._files import atomic_path, digest

from .plan import Cell, Plan

FOLDER = "predictions"
CRYSTALS = "crystals.parquet"
CELL = ("encoder", "arm", "n_labels", "method", "seed", "fold")
"""Columns that name a cell of a task; ``n_labels`` is text."""
PRECISION = 1e-4
"""Of predictions, in standard deviations of the labels."""
_LARGEST = 2**31 - 1


def read_predictions(folder: Path) -> pd.DataFrame:
    """All predictions, a row a predicted crystal: task, cell, the crystal's id, its label, what was predicted.

    Args:
        folder: ``predictions`` beside the tables of a benchmark, of this version or an earlier one.
    """
    crystals = dict(iter(_crystals(folder).groupby(["task", "part"])))
    columns = [*CELL, "id", "task", "label", "prediction"]
    found = [pd.DataFrame(columns=columns)]
    for path in sorted(folder.glob("*/*.parquet")):
        for name, cells in pd.read_parquet(path).groupby("part", sort=False):
            about = crystals[path.parent.name, name]
            rows = cells.loc[cells.index.repeat(len(about)), list(CELL)].reset_index(drop=True)
            whole = np.stack(cells["prediction"].to_list()) * cells["step"].to_numpy()[:, None]
            rows[["id", "task", "label"]] = pd.concat([about] * len(cells))[["id", "task", "label"]].to_numpy()
            found.append(rows.assign(prediction=whole.astype(np.float32).ravel()))
    before = [pd.read_parquet(path) for path in _before(folder)]
    table = _newest(pd.concat(found[1:] or found, ignore_index=True), *before)[columns]
    kinds = {"seed": np.int64, "fold": np.int64, "label": np.float32, "prediction": np.float32}
    return table.astype(kinds).sort_values(["task", *CELL], kind="stable", ignore_index=True)


def write_predictions(plan: Plan, out: Path) -> None:
    """Write what is predicted of finished cells. What cells finished elsewhere predicted stays.

    ``read_predictions(out / "predictions")`` reads them all.
    """
    for task, arm in dict.fromkeys((cell.task, cell.arm) for cell in plan.cells):
        if found := list(_predicted(plan, task, arm)):
            keep(pd.concat(found, ignore_index=True), out / FOLDER, task)


def keep(found: pd.DataFrame, folder: Path, task: str) -> None:
    """Write a task's predictions, beside those of other cells that are there; files of earlier versions are rewritten.

    Args:
        found: As ``read_predictions`` reads them.
        folder: ``predictions`` beside the tables.
        task: The task's name.
    """
    old = folder / f"{task}.parquet"
    if old in _before(folder):
        found = _newest(found, pd.read_parquet(old))
    cells, parts = [], dict(iter(_crystals(folder).groupby("part")))
    for name, rows in found.groupby(list(CELL), sort=False):
        rows = rows.sort_values("id", kind="stable")
        about = pd.DataFrame({"task": task, "id": rows["id"], "label": rows["label"].astype(np.float32)})
        part = digest([about.to_csv(index=False)], 12)
        parts.setdefault(part, about.assign(part=part))
        cells.append({**dict(zip(CELL, name, strict=True)), "part": part, **_rounded(rows)})
    every = pd.concat(parts.values())[["task", "part", "id", "label"]]
    _write(every.sort_values(["task", "part"], kind="stable"), folder / CRYSTALS)
    for arm, new in pd.DataFrame(cells).groupby("arm"):
        path = folder / task / f"{arm}.parquet"
        every = _newest(new, pd.read_parquet(path)) if path.exists() else new
        _write(every.sort_values(list(CELL), kind="stable"), path)
    old.unlink(missing_ok=True)


def _crystals(folder: Path) -> pd.DataFrame:
    """Ids and labels of the crystals that are predicted together, a part, in order."""
    path = folder / CRYSTALS
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["task", "part", "id", "label"])


def _before(folder: Path) -> list[Path]:
    """Files of earlier versions: a task each, with a row a predicted crystal."""
    return sorted(path for path in folder.glob("*.parquet") if path.name != CRYSTALS)


def _newest(new: pd.DataFrame, *old: pd.DataFrame) -> pd.DataFrame:
    """The new rows, and the old ones of other cells, or tasks if the new ones are of several."""
    names = [name for name in ("task", *CELL) if name in new]
    known = pd.MultiIndex.from_frame(new[names])
    others = [rows[~pd.MultiIndex.from_frame(rows[names]).isin(known)] for rows in old]
    return pd.concat([new, *others], ignore_index=True)


def _rounded(rows: pd.DataFrame) -> dict[str, Any]:
    """Whole numbers of a step, a power of ten; a larger one where they would not fit in 32 bits."""
    values = rows["prediction"].to_numpy(dtype=float)
    spread = float(rows["label"].std(ddof=0)) or float(rows["label"].abs().max()) or 1.0
    least = np.nanmax(np.abs(values), initial=0.0) / _LARGEST
    exponent = max(np.floor(np.log10(PRECISION * spread)), np.ceil(np.log10(least)) if least else -np.inf)
    step = float(f"1e{exponent:.0f}")
    return {"step": step, "prediction": np.rint(values / step).astype(np.int32)}


def _write(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    names = [name for name in table.column_names if name != "prediction"]
    encoded = {"prediction.list.element": "BYTE_STREAM_SPLIT"} if "prediction" in table.column_names else None
    with atomic_path(path) as temporary:
        pq.write_table(
            table, temporary, compression="zstd", compression_level=19, use_dictionary=names, column_encoding=encoded,
            write_statistics=False, store_schema=False,
        )  # fmt: skip


def _predicted(plan: Plan, task: str, arm: str) -> Iterator[pd.DataFrame]:
    """The rows of each finished cell that this machine has predictions of."""
    for cell in plan.cells:
        finished = plan.store.get(cell.unit) if (cell.task, cell.arm) == (task, arm) and cell.unit else None
        values = finished["result"].get("predictions") if finished else None
        if values is not None and np.isfinite(values).all():
            yield _of_cell(plan, cell, values)


def _of_cell(plan: Plan, cell: Cell, values: list[float]) -> pd.DataFrame:
    task = plan.runner.task(cell.task)
    rows = task.scored_rows(plan.config.part, cell.n_labels, cell.seed, cell.fold)
    name = (cell.encoder, cell.arm, str(cell.n_labels), cell.method, cell.seed, cell.fold)
    ids = np.array(task.crystals.ids, dtype=object)[rows]
    return pd.DataFrame(
        {**dict(zip(CELL, name, strict=True)), "id": ids, "label": task.labels[rows], "prediction": values}
    )
