"""What computed targets cost: CPU time a crystal, one thread.

    MATGL_SSL_DATA=... python benchmarks/targets.py [LABEL]        # adds to results/targets.csv

200 crystals each of ``mp20_biternary/val.parquet`` and ``mp37k/train.parquet``, drawn with seed 0: each target alone,
and those of the recipe ``textbook`` one after the other, as a run computes them. Oxidation states are guessed for a
formula the first time it occurs. Rows of the same label are replaced; the default label is the installed version.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from matgl_ssl import targets
from matgl_ssl.crystals import read_crystals

FILE = Path(__file__).parent / "results" / "targets.csv"
HEADER = ["code", "crystals", "mean_atoms", "target", "numbers", "mean_ms", "median_ms", "max_ms", "missing"]
TEXTBOOK = [
    "Coordination", "AtomBonds", "AtomVibrations", "AtomTightBinding", "Density", "CompositionStatistics",
    "CrystalBonds", "CrystalVibrations", "CrystalTightBinding",
]  # fmt: skip
OTHERS = ["RadialFingerprint", "AngularFingerprint", "PowderPattern", "EwaldEnergy", "SpaceGroup"]


def main(label: str) -> None:
    """Measure and write."""
    _, *before = csv.reader(FILE.open())
    rows = [row for row in before if row[0] != label]
    groups = [[name] for name in (*TEXTBOOK, *OTHERS)] + [TEXTBOOK]
    for table in ("mp20_biternary/val", "mp37k/train"):
        crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / f"{table}.parquet", columns=[])
        chosen = np.sort(np.random.default_rng(0).choice(len(crystals), 200, replace=False))
        sample = list(crystals.rows(chosen))
        for names in groups:
            group = [getattr(targets, name)() for name in names]
            times, missing = [], 0
            for crystal in (sample[-1], *sample):  # the first for tables and imports
                start = time.process_time()
                values = [target(crystal) for target in group]
                times.append(1e3 * (time.process_time() - start))
                missing += all(np.isnan(v).all() for v in values)
            times = times[1:]
            name = group[0].name if len(group) == 1 else "recipe textbook"
            costs = [f"{x:.2f}" for x in (np.mean(times), np.median(times), np.max(times))]
            atoms = f"{np.mean([len(c) for c in sample]):.1f}"
            rows.append([label, table, atoms, name, str(sum(t.size for t in group)), *costs, str(missing)])
            print(*rows[-1], flush=True)
    with FILE.open("w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else version("matgl_ssl"))
