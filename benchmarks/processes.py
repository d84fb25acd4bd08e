"""Two processes of one thread each against one of one thread: structures per second of pretraining.

    MATGL_SSL_DATA=... python benchmarks/processes.py              # some minutes, on a machine with nothing else to do
    MATGL_SSL_DATA=... python benchmarks/processes.py --repeats 1

Both are runs from the command line with 32 crystals a process in a batch, on the 512 crystals of
``results/speed/crystals.txt``, taken in turn. A run's number is the median over its epochs but the first (in which
graphs are built), from ``metrics.csv``. ``results/processes.json`` has every run with the machine's load before it.
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

from speed_parts.common import drawn, machine

RESULTS = Path(__file__).with_name("results") / "processes.json"
MODELS = {"M3GNet": 4, "MEGNet": 5}
"""Architectures, with epochs of a run."""


def run(model: str, data: Path, processes: int, folder: Path) -> dict[str, Any]:
    """Pretrain, and say how fast it was."""
    load = os.getloadavg()[0]
    out = folder / f"{model}-{processes}-{len(list(folder.iterdir()))}"
    command = [
        sys.executable, "-m", "matgl_ssl.cli", "pretrain", "--recipe", "masked-atoms", "--model", model, "--data", data,
        "--out", out, "--epochs", MODELS[model], "--batch-size", 32, "--accelerator", "cpu", "--devices", processes,
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([str(word) for word in command], env={**os.environ, **threads}, check=True, capture_output=True)
    with (out / "metrics.csv").open(newline="") as f:
        epochs = [float(row["structures_per_second"]) for row in csv.DictReader(f) if row["structures_per_second"]]
    return {"model": model, "processes": processes, "structures_per_second": round(median(epochs[1:]), 2),
            "epochs": [round(epoch, 2) for epoch in epochs], "load_before": round(load, 2)}  # fmt: skip


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    runs: list[dict[str, Any]] = []
    ratios: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = drawn().write_parquet(folder / "crystals.parquet")
        for model in MODELS:
            pairs = []
            for _ in range(repeats):
                one, two = (run(model, data, processes, folder) for processes in (1, 2))
                runs += [one, two]
                pairs.append(round(two["structures_per_second"] / one["structures_per_second"], 3))
                print(model, one["structures_per_second"], two["structures_per_second"], pairs[-1], flush=True)
            ratios[model] = {"median": median(pairs), "pairs": pairs}
    RESULTS.write_text(json.dumps({"machine": machine(), "two_over_one": ratios, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
