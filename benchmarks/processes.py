"""Two processes of one thread each against one of one thread: structures per second of pretraining.

    MATGL_SSL_DATA=... python benchmarks/processes.py              # some minutes, on a machine with nothing else to do
    MATGL_SSL_DATA=... python benchmarks/processes.py --repeats 1

Both are runs from the command line with 32 crystals a process in a batch, on the 512 crystals of
``results/speed/crystals.txt``, taken in turn. A run's number is the median over its epochs but the first (in which
graphs are built), from ``metrics.csv``. ``results/processes.json`` has every run with the machine's load before it.
Two separate runs of one process each, at the same time, show what the machine's second core is worth by itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from speed_parts.common import drawn, machine

RESULTS = Path(__file__).with_name("results") / "processes.json"
TIMES = 4
"""How often the crystals are in the table: epochs of a few steps would measure their ends."""
MODELS = {"M3GNet": 3, "MEGNet": 4}
"""Architectures, with epochs of a run."""


def command(model: str, data: Path, processes: int, out: Path) -> list[str]:
    """The pretraining that is measured."""
    words = [
        sys.executable, "-m", "matgl_ssl.cli", "pretrain", "--recipe", "masked-atoms", "--model", model, "--data", data,
        "--out", out, "--epochs", MODELS[model], "--batch-size", 32, "--accelerator", "cpu", "--devices", processes,
    ]  # fmt: skip
    return [str(word) for word in words]


def run(model: str, data: Path, folder: Path, *, processes: int = 1, runs: int = 1) -> dict[str, Any]:
    """Pretrain, ``runs`` times at once, and say how fast they were together."""
    load = os.getloadavg()[0]
    outs = [folder / f"{model}-{len(list(folder.iterdir()))}-{i}" for i in range(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command(model, data, processes, out), env=environment, **quiet) for out in outs]
    codes = [process.wait() for process in started]
    if any(codes):
        raise RuntimeError(f"{model} with {processes} processes failed: {command(model, data, processes, outs[0])}")
    speed, epochs = 0.0, []
    for out in outs:
        with (out / "metrics.csv").open(newline="") as f:
            of_run = [float(row["structures_per_second"]) for row in csv.DictReader(f) if row["structures_per_second"]]
        speed += median(of_run[1:])
        epochs.append([round(epoch, 2) for epoch in of_run])
    return {"model": model, "runs": runs, "processes": processes, "structures_per_second": round(speed, 2),
            "epochs": epochs, "load_before": round(load, 2)}  # fmt: skip


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    runs: list[dict[str, Any]] = []
    ratios: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = drawn().select(np.tile(np.arange(512), TIMES)).write_parquet(folder / "crystals.parquet")
        for model in MODELS:
            ratios[model] = {"two processes": [], "two runs": []}
            for _ in range(repeats):
                one = run(model, data, folder)
                for kind, two in (
                    ("two processes", run(model, data, folder, processes=2)),
                    ("two runs", run(model, data, folder, runs=2)),
                ):
                    ratios[model][kind].append(round(two["structures_per_second"] / one["structures_per_second"], 3))
                    runs.append(two)
                runs.append(one)
                print(model, {kind: values[-1] for kind, values in ratios[model].items()}, flush=True)
    over_one = {m: {kind: {"median": median(v), "pairs": v} for kind, v in of.items()} for m, of in ratios.items()}
    RESULTS.write_text(
        json.dumps({"machine": machine("cpu"), "over_one_process": over_one, "runs": runs}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
