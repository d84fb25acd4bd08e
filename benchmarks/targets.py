"""What the targets of `atom-targets` and `crystal-targets` cost: CPU time a crystal, one thread.

    MATGL_SSL_DATA=... python benchmarks/targets.py        # writes results/targets.csv

200 rows of Materials Project (``mp37k/train.parquet``), drawn with seed 0. Oxidation states are guessed for a formula
the first time it occurs, as in a run.
"""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import numpy as np

from matgl_ssl import registry
from matgl_ssl.crystals import read_crystals

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure and write."""
    crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet", columns=[])
    rows = np.sort(np.random.default_rng(0).choice(len(crystals), 200, replace=False))
    sample = crystals.rows(rows)
    names = [name for name in registry.names("targets") if name not in ("crystal-system", "environment-stiffness")]
    targets = {name: registry.build("targets", name) for name in names}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "targets.csv").open("w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["target", "numbers", "mean_ms", "median_ms", "max_ms", "missing", "mean_atoms"])
        for name, target in targets.items():
            target(sample[0])  # tables and imports
            times, missing = [], 0
            for crystal in sample:
                start = time.process_time()
                values = target(crystal)
                times.append(1e3 * (time.process_time() - start))
                missing += bool(np.isnan(values).all())
            row = [f"{x:.2f}" for x in (np.mean(times), np.median(times), np.max(times))]
            writer.writerow([name, target.size, *row, missing, f"{np.mean([len(c) for c in sample]):.1f}"])
            print(name, row, missing, flush=True)


if __name__ == "__main__":
    main()
