"""What textbooks' rules of thumb know of what the benchmark's tasks ask for, of which they have seen nothing.

    MATGL_SSL_DATA=... python benchmarks/textbook_targets.py   # writes results/textbook_targets.csv and .md
    python benchmarks/textbook_targets.py report                       # the table alone

Each task's crystals are those that ``search.yaml`` trains and validates on at seed 0, 400 of the training part: no
label of a test part is read.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from matgl_ssl.evaluation.config import TaskConfig, read_benchmark
from matgl_ssl.evaluation.tasks import data_root, read_task
from matgl_ssl.targets import CrystalBonds, CrystalTightBinding, CrystalVibrations, Target

HERE = Path(__file__).parent
ESTIMATES: dict[str, tuple[Target, int, str, str]] = {
    "phonons": (CrystalVibrations(), 0, "highest frequency, Gordy", "1/cm"),
    "heat-capacity": (CrystalVibrations(), 5, "harmonic at 300 K, Gordy", "J/K/mol per atom"),
    "bulk-modulus": (CrystalVibrations(), 6, "affine, Gordy", "log10 GPa"),
    "band-gap": (CrystalTightBinding(), 0, "universal tight binding, Harrison", "eV"),
    "formation-energy": (CrystalBonds(), 0, "Pauling", "eV/atom"),
}


def compute(path: Path) -> None:
    """A row a crystal: its label, and what the rule estimates."""
    tasks = read_benchmark(HERE / "search.yaml")["tasks"]
    with path.open("w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["task", "material_id", "label", "computed"])
        for name, (target, column, *_) in ESTIMATES.items():
            task = read_task(name, TaskConfig(**tasks[name]), data_root(None))
            rows = np.concatenate([task.revealed(100, 0, 0), task.scored_rows("validation", 100, 0, 0)])
            crystals, labels = task.crystals.rows(rows), task.labels[rows]
            for crystal, label in zip(crystals, labels, strict=True):
                writer.writerow([name, crystal.id, f"{label:.5g}", f"{target(crystal)[column]:.5g}"])


def report(path: Path) -> str:
    """A table of how far labels and estimates agree."""
    with path.open() as f:
        rows = list(csv.DictReader(f))
    lines = [
        "# What textbooks' rules know of the tasks' labels",
        "Written by `python benchmarks/textbook_targets.py report` from `textbook_targets.csv`. Mean absolute errors",
        "on crystals of each task's training part, as they are, along a straight line (least squares, fitted to the",
        "same crystals), and of always saying the median.\n",
        "| task | estimate | crystals | rank correlation | MAE as it is | along a line | of the median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (*_, rule, unit) in ESTIMATES.items():
        pairs = np.array([(float(r["computed"]), float(r["label"])) for r in rows if r["task"] == name])
        values, labels = pairs[np.isfinite(pairs).all(axis=1)].T
        line = np.polynomial.Polynomial.fit(values, labels, 1)
        errors = [f"{np.abs(guess - labels).mean():.3g}" for guess in (values, line(values), np.median(labels))]
        rank = spearmanr(values, labels).statistic
        lines.append(f"| {name} ({unit}) | {rule} | {len(values)} | {rank:.3f} | {' | '.join(errors)} |")
    return "\n".join([lines[0], "", *lines[1:]]) + "\n"


if __name__ == "__main__":
    CSV = HERE / "results" / "textbook_targets.csv"
    if sys.argv[1:] != ["report"]:
        compute(CSV)
    CSV.with_suffix(".md").write_text(report(CSV), encoding="utf-8")
