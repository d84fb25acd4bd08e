"""What computed targets cost: CPU time a crystal, one thread.

    MATGL_SSL_DATA=... python benchmarks/targets.py [LABEL]               # adds to results/targets.csv
    MATGL_SSL_DATA=... python benchmarks/targets.py LABEL=CHECKOUT ...    # of several checkouts, in turns

200 crystals each of ``mp20_biternary/val.parquet`` and ``mp37k/train.parquet``, drawn with seed 0: each target alone,
and those of the recipe ``textbook`` one after the other, as a run computes them. Oxidation states are guessed for a
formula the first time it occurs. Checkouts take turns of 20 crystals, each in a process of its own, so that
whatever else the machine does delays them alike; ``load`` is how many processes wanted to run meanwhile. Rows of the
same label are replaced; the default label is the installed version.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "results" / "targets.csv"
HEADER = ["code", "crystals", "mean_atoms", "target", "numbers", "mean_ms", "median_ms", "max_ms", "missing", "load"]
TEXTBOOK = [
    "Coordination", "AtomBonds", "AtomVibrations", "AtomTightBinding", "Density", "CompositionStatistics",
    "CrystalBonds", "CrystalVibrations", "CrystalTightBinding",
]  # fmt: skip
OTHERS = ["RadialFingerprint", "AngularFingerprint", "PowderPattern", "EwaldEnergy", "SpaceGroup"]
GROUPS = [[name] for name in (*TEXTBOOK, *OTHERS)] + [TEXTBOOK]
TABLES = ("mp20_biternary/val", "mp37k/train")
N, TURN = 200, 20


def serve() -> None:
    """Compute a group of targets of one crystal after the other, some for each line that comes in."""
    from matgl_ssl import targets
    from matgl_ssl.crystals import read_crystals

    for table in TABLES:
        crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / f"{table}.parquet", columns=[])
        sample = list(crystals.rows(np.sort(np.random.default_rng(0).choice(len(crystals), N, replace=False))))
        for names in GROUPS:
            group = [getattr(targets, name)() for name in names]
            for i, crystal in enumerate(sample[-TURN:] + sample):  # the first for tables and imports
                if i % TURN == 0:
                    sys.stdin.readline()
                start = time.process_time()
                values = [target(crystal) for target in group]
                milliseconds = 1e3 * (time.process_time() - start)
                missing = int(all(np.isnan(v).all() for v in values))
                name = group[0].name if len(group) == 1 else "recipe textbook"
                print(len(crystal), name, sum(t.size for t in group), milliseconds, missing, sep="\t", flush=True)


def main(checkouts: dict[str, Path]) -> None:
    """Measure and write."""
    _, *before = csv.reader(FILE.open())
    rows = [[*row, ""][: len(HEADER)] for row in before if row[0] not in checkouts]
    servers = {
        label: subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        )
        for label, path in checkouts.items()
    }  # fmt: skip
    for table in TABLES:
        for _ in GROUPS:
            answers: dict[str, list[list[str]]] = {label: [] for label in servers}
            loads = []
            for _ in range(N // TURN + 1):
                for label, server in servers.items():
                    assert server.stdin
                    assert server.stdout
                    print(file=server.stdin, flush=True)
                    answers[label] += [server.stdout.readline().rstrip("\n").split("\t") for _ in range(TURN)]
                loads.append(os.getloadavg()[0])
            for label, answered in answers.items():
                atoms, names, numbers, times, missing = zip(*answered[TURN:], strict=True)
                ms = np.array(times, float)
                costs = [f"{x:.2f}" for x in (ms.mean(), np.median(ms), ms.max())]
                mean_atoms, load = f"{np.mean(np.array(atoms, int)):.1f}", f"{np.mean(loads):.1f}"
                rows.append([label, table, mean_atoms, names[0], numbers[0], *costs, str(missing.count("1")), load])
                print(*rows[-1], flush=True)
    with FILE.open("w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        asked = sys.argv[1:] or [version("matgl_ssl")]
        here = Path(__file__).parents[1]
        main({label: Path(path or here) for label, _, path in (text.partition("=") for text in asked)})
