"""Corpora larger than memory: what ``prepare`` and the data path of training take at 10 thousand to 1 million crystals.

    MATGL_SSL_DATA=... python benchmarks/corpus.py                       # about 15 minutes on two cores
    MATGL_SSL_DATA=... python benchmarks/corpus.py --prepare-up-to 100000      # some minutes

The crystals are those of mp37k, repeated with atoms rattled by 0.05 Å and cells strained by 1 %; one in a thousand is a
copy of the one before with another origin. Each measurement is a process of its own. Its own memory (``RssAnon``) and
all of its resident pages (``VmHWM``, with those of mapped files, which the system takes back when it needs them) are
peaks. ``results/corpus.json`` has the numbers, ``results/corpus.md`` the table; ten million are on the line through the
last two sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from speed_parts.common import machine

from matgl_ssl import Crystal, read_crystals

RESULTS = Path(__file__).with_name("results")
SIZES = (10_000, 100_000, 1_000_000)
TARGET = 10_000_000
BATCHES, BATCH_SIZE = 140, 64
COPY_EVERY = 1000
_START = ("open_seconds", "fingerprint_seconds", "edges_seconds", "order_seconds", "first_batch_seconds")
_SCHEMA = pa.schema(
    [
        ("material_id", pa.string()), ("numbers", pa.list_(pa.uint8())), ("frac_coords", pa.list_(pa.float64())),
        ("lattice", pa.list_(pa.float64())), ("energy", pa.float64()),
    ]
)  # fmt: skip


def mp37k() -> list[Crystal]:
    """The crystals of all three files."""
    folder = Path(os.environ["MATGL_SSL_DATA"]) / "mp37k"
    return [c for name in ("train", "val", "test") for c in read_crystals(folder / f"{name}.parquet", columns=[])]


def rows(n: int, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Rows of the corpus; the first pass over mp37k has its crystals as they are."""
    rng, crystals = np.random.default_rng(seed), mp37k()
    crystal, coords, lattice = crystals[0], crystals[0].frac_coords, crystals[0].lattice
    for i in range(n):
        if i % COPY_EVERY == COPY_EVERY - 1:
            coords = coords + rng.random(3)
        else:
            crystal = crystals[(i - i // COPY_EVERY) % len(crystals)]
            coords, lattice = crystal.frac_coords, crystal.lattice
            if i >= len(crystals):
                lattice = lattice @ (np.eye(3) + 0.01 * rng.uniform(-1, 1, (3, 3)))
                coords = coords + rng.normal(0, 0.05, coords.shape) @ np.linalg.inv(lattice)
        yield f"{crystal.id}/{i}", crystal.numbers, coords.ravel(), lattice.ravel(), float(rng.normal())


def write(n: int, path: Path) -> Path:
    """Write a corpus to Parquet."""
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as file:
        found = rows(n)
        while batch := list(islice(found, 10_000)):
            file.write_table(pa.table([list(column) for column in zip(*batch, strict=True)], schema=_SCHEMA))
    return path


def repeat(prepared: Path, n: int, out: Path) -> None:
    """Make a corpus of about ``n`` crystals of the copied shards of another one."""
    manifest = json.loads((prepared / "manifest.json").read_text())
    out.mkdir()
    shards = []
    for copy in range(round(n / manifest["rows"])):
        for shard in manifest["shards"]:
            shards.append({**shard, "file": f"{copy:03d}-{shard['file']}"})
            shutil.copy(prepared / shard["file"], out / shards[-1]["file"])
    rows = sum(shard["rows"] for shard in shards)
    (out / "manifest.json").write_text(json.dumps({**manifest, "shards": shards, "rows": rows}))


class Memory:
    """Peaks of this process's memory while it is open, in MB."""

    def __enter__(self) -> Self:
        self.own, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._done.set()
        self._thread.join()
        self.own, self.resident = max(self.own, _status("RssAnon")), _status("VmHWM")

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.own = max(self.own, _status("RssAnon"))


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure_prepare(source: Path, out: Path) -> dict[str, float]:
    """Prepare a corpus with two processes."""
    from matgl_ssl import prepare

    with Memory() as memory:
        started = time.perf_counter()
        manifest = prepare(data=source, out=out, num_workers=2, license="CC-BY-4.0").manifest
        seconds = time.perf_counter() - started
    size = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    n, left_out = manifest["sources"][0]["rows"], manifest["sources"][0]["left_out"]
    return {
        "seconds": round(seconds, 1), "rows_per_second": round(n / seconds), "own_mb": round(memory.own),
        "resident_mb": round(memory.resident), "size_mb": round(size), "left_out": left_out,
    }  # fmt: skip


def measure_training(out: Path) -> dict[str, float]:
    """Open a prepared corpus and build batches of its graphs, as the process that trains or one worker does."""
    import torch

    from matgl_ssl.encoders import GraphBuilder
    from matgl_ssl.hub import new_model
    from matgl_ssl.training.data import data_facts, random_split
    from matgl_ssl.training.loader import SeededLoader, ViewDataset
    from matgl_ssl.views import MaskAtoms

    torch.set_num_threads(1)
    elements, result = new_model("MEGNet", {}).element_types, {}

    def clock(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = function()
        result[f"{name}_seconds"] = round(time.perf_counter() - started, 2)
        return value

    with Memory() as memory:
        crystals = clock("open", lambda: read_crystals(out, columns=[]))
        train, _ = (crystals.select(part) for part in random_split(len(crystals), 0.05, 0))
        result["before_mb"] = round(_status("RssAnon"))
        clock("fingerprint", lambda: data_facts([], train=train))
        data = clock("edges", lambda: ViewDataset(train, GraphBuilder(elements, 5.0), [MaskAtoms()], seed=0))
        loader = clock("order", lambda: SeededLoader(data, batch_size=BATCH_SIZE, seed=0, shuffle=True))
        batches = iter(loader)
        clock("first_batch", lambda: next(batches))
        clock("batches", lambda: [next(batches) is None for _ in range(BATCHES)])
        row_numbers = [
            [row for _, row in items] for items, _ in zip(loader.order.batches(1), range(BATCHES), strict=False)
        ]
        clock("read", lambda: [len(train.rows(numbers)) for numbers in row_numbers])
    return result | {"own_mb": round(memory.own), "resident_mb": round(memory.resident)}


def _in_process(what: str, *paths: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", what, *map(str, paths)]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(paths[0].parent / "cache"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown, with those for ``TARGET`` on the line through the last two sizes."""
    made = {int(n): each["prepare"] for n, each in found.items() if "prepare" in each}
    used = {int(n): each["training"] for n, each in found.items()}
    for each in used.values():
        each["start"] = sum(value for name, value in each.items() if name.endswith("_seconds") and name in _START)
    lines = [
        "`prepare` with two processes:\n",
        "| crystals | time | a second | own memory | resident | shards |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {n:,} | {each['seconds']:,.0f} s | {each['rows_per_second']:,} | {each['own_mb']:,} MB | "
            f"{each['resident_mb']:,} MB | {each['size_mb']:,} MB |"
            for n, each in made.items()
        ),
        *_line(made, lambda s, own, *_: f"| {TARGET:,} (a line) | {s / 3600:.1f} h | | {own:,.0f} MB | | |"),
        "\nTraining's data path, one process:\n",
        "| crystals | from opening to the first batch | own memory | resident | batches of 64 | reading alone |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {n:,} | {each['start']:.1f} s | {each['own_mb']:,} MB | {each['resident_mb']:,} MB | "
            f"{BATCHES / each['batches_seconds']:.0f} a second | {BATCHES / each['read_seconds']:.0f} a second |"
            for n, each in used.items()
        ),
        *_line(used, lambda s, own, *_: f"| {TARGET:,} (a line) | {s:.0f} s | {own:,.0f} MB | | | |"),
    ]
    return "\n".join(lines) + "\n"


def _line(found: dict[int, dict[str, Any]], said: Callable[..., str]) -> list[str]:
    if len(found) < 2:
        return []
    (n, before), (m, last) = list(found.items())[-2:]
    names = ("seconds" if "seconds" in last else "start", "own_mb")
    return [said(*(last[name] + (last[name] - before[name]) / (m - n) * (TARGET - m) for name in names))]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    text = "larger corpora are copies of the largest prepared one: enough for the data path of training"
    parser.add_argument("--prepare-up-to", type=int, default=max(SIZES), metavar="INT", help=text)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        function = {"prepare": measure_prepare, "training": measure_training}[options.part[0]]
        print(json.dumps(function(*map(Path, options.part[1:]))))
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, largest = Path(name), Path(name)
        for n in sorted(options.sizes):
            out = folder / str(n)
            measured: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 1)}
            if n <= options.prepare_up_to:
                measured["prepare"] = _in_process("prepare", write(n, folder / f"{n}.parquet"), out)
                largest = out
            else:
                repeat(largest, n, out)
            measured["training"] = _in_process("training", out)
            found[str(n)] = measured
            print(n, json.dumps(measured), flush=True)
            content = {"machine": machine("cpu"), "batch_size": BATCH_SIZE, "batches": BATCHES, "sizes": found}
            (RESULTS / "corpus.json").write_text(json.dumps(content, indent=1) + "\n")
            (RESULTS / "corpus.md").write_text(table(found))


if __name__ == "__main__":
    main()
