"""(d) Peak anonymous memory of pretraining against the number of rows.

The demo corpus (1,000 crystals) is tiled by array operations, each row's cell with a strain of its own (1 %), into
one Parquet file. Then ``pretrain`` takes 2,000 steps whose batches are drawn from the whole table: RssAnon summed
over the process and its workers, sampled every 20 ms, the largest during the steps and in the whole run. Pages of the
memory-mapped cache do not count; how large the cache grows is in the row.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .common import MIB, Results, Settings, in_a_process

ROWS = (1_000, 10_000, 100_000, 1_000_000)
CORPUS = 1_000
STEPS, BATCH, WORKERS = 2_000, 4, 2
STRAIN = 0.01


def tiled(n: int, path: Path) -> None:
    """Write the demo corpus ``n / 1000`` times over."""
    from matgl_ssl.crystals.demo import demo_corpus

    table = demo_corpus(CORPUS).table.data.table.combine_chunks()
    lattices = table.column("lattice").combine_chunks().flatten().to_numpy().reshape(-1, 3, 3)
    bounds = pa.array(np.arange(CORPUS + 1, dtype=np.int32) * 9)
    kept = {name: table.column(name).combine_chunks() for name in ("numbers", "frac_coords")}
    rng, writer = np.random.default_rng(0), None
    for tile in range(n // CORPUS):
        strained = lattices @ (np.eye(3) + rng.normal(scale=STRAIN, size=(CORPUS, 3, 3)))
        ids = pa.array(np.char.add(f"{tile:04d}-", np.arange(CORPUS).astype(str)))
        columns = {
            "material_id": ids, **kept, "lattice": pa.ListArray.from_arrays(bounds, pa.array(strained.ravel()))
        }  # fmt: skip
        batch = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(batch)
    assert writer is not None
    writer.close()


def pretrained(parquet: str, n: int, steps: int, model: str) -> dict[str, Any]:
    """Pretrain for so many steps, in a process of its own; when its steps began and ended."""
    import lightning as L

    import matgl_ssl
    import matgl_ssl.training.pretrain

    times: dict[str, float] = {}
    trainer = L.Trainer

    class Mark(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.setdefault("steps", time.monotonic())

        def on_train_end(self, *_: Any) -> None:
            times["end"] = time.monotonic()

    def made(*args: Any, callbacks: Any = (), **kwargs: Any) -> L.Trainer:
        return trainer(*args, callbacks=[*callbacks, Mark()], **{**kwargs, "max_steps": steps})

    times["start"] = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(L, "Trainer", made):
        matgl_ssl.pretrain(
            data=parquet, out=Path(folder) / "run", recipe="masked-atoms", model=model, accelerator="cpu",
            epochs=1 + steps * BATCH // n, batch_size=BATCH, num_workers=WORKERS, val_fraction=20 / n,
        )  # fmt: skip
    return times


def measured(n: int, model: str, settings: Settings) -> dict[str, Any]:
    """One size of the table."""
    with tempfile.TemporaryDirectory() as folder:
        parquet, cache = Path(folder) / "tiled.parquet", Path(folder) / "cache"
        tiled(n, parquet)
        seen = in_a_process(
            pretrained, env={"HF_DATASETS_CACHE": str(cache)}, parquet=str(parquet), n=n, model=model,
            steps=100 if settings.quick else STEPS,
        )  # fmt: skip
        times = seen.value
        return {
            "rows": n,
            "parquet_MiB": round(parquet.stat().st_size / MIB, 1),
            "cache_MiB": round(sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) / MIB, 1),
            "imported_MiB": round(seen.peak(stop=times["start"]), 1),
            "before_steps_MiB": round(seen.peak(times["start"], times["steps"]), 1),
            "steps_MiB": round(seen.peak(times["steps"], times["end"]), 1),
            "peak_MiB": round(seen.peak(), 1),
            "seconds_before_steps": round(times["steps"] - times["start"], 1),
            "seconds_of_steps": round(times["end"] - times["steps"], 1),
        }


def run(settings: Settings) -> None:
    """All sizes, and the largest against the smallest."""
    results = Results("rows", settings)
    sizes = (1_000, 4_000) if settings.quick else ROWS
    for n in sizes:
        results.measure(f"{n} rows", lambda n=n: measured(n, "MEGNet", settings))
    first, last = (results.rows[f"{n} rows"] for n in (sizes[0], sizes[-1]))
    print("largest over smallest, steps:", round(last["steps_MiB"] / first["steps_MiB"], 3))
