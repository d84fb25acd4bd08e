"""What textbooks' rules of thumb know of what the benchmark's tasks ask for, of which they have seen nothing.

    MATGL_SSL_DATA=... python benchmarks/textbook_targets.py        # writes results/textbook_targets.csv

Each task's crystals are those that ``search.yaml`` trains and validates on at seed 0, 400 of the training part: no
label of a test part is read.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from matgl_ssl.evaluation.config import TaskConfig, read_benchmark
from matgl_ssl.evaluation.tasks import data_root, read_task
from matgl_ssl.targets import CrystalBonds, CrystalTightBinding, CrystalVibrations, Target

HERE = Path(__file__).parent
ESTIMATES: dict[str, tuple[Target, int, str]] = {
    "phonons": (CrystalVibrations(), 0, "highest frequency, 1/cm"),
    "heat-capacity": (CrystalVibrations(), 5, "at 300 K, J/K/mol per atom"),
    "bulk-modulus": (CrystalVibrations(), 6, "log10 GPa"),
    "band-gap": (CrystalTightBinding(), 0, "eV"),
    "formation-energy": (CrystalBonds(), 0, "eV/atom"),
}


def main() -> None:
    """Compute, compare, write."""
    tasks = read_benchmark(HERE / "search.yaml")["tasks"]
    with (HERE / "results" / "textbook_targets.csv").open("w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["task", "material_id", "label", "computed"])
        for name, (target, column, unit) in ESTIMATES.items():
            task = read_task(name, TaskConfig(**tasks[name]), data_root(None))
            rows = np.concatenate([task.revealed(100, 0, 0), task.scored_rows("validation", 100, 0, 0)])
            crystals, labels = task.crystals.rows(rows), task.labels[rows]
            values = np.array([target(crystal)[column] for crystal in crystals])
            for crystal, label, value in zip(crystals, labels, values, strict=True):
                writer.writerow([name, crystal.id, f"{label:.5g}", f"{value:.5g}"])
            known = np.isfinite(values)
            values, labels = values[known], labels[known]
            line = np.polynomial.Polynomial.fit(values, labels, 1)
            errors = [np.abs(guess - labels).mean() for guess in (values, line(values), np.median(labels))]
            print(
                f"{name} ({unit}): {len(values)} crystals, rank correlation {spearmanr(values, labels).statistic:.3f}, "
                f"MAE as it is {errors[0]:.3g}, along a fitted line {errors[1]:.3g}, of the median {errors[2]:.3g}"
            )


if __name__ == "__main__":
    main()
