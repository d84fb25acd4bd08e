"""What the representation at each range says of magnetism: probes of the total magnetisation per atom.

    MATGL_SSL_DATA=... python benchmarks/magnetism.py run --encoder MEGNet    # pretrains once a seed, then probes
    MATGL_SSL_DATA=... python benchmarks/magnetism.py run --encoder M3GNet
    MATGL_SSL_DATA=... python benchmarks/magnetism.py report                  # table and figure from the CSV

``MATGL_SSL_DATA`` holds ``mp37k/{train,val,test}.parquet``. Encoders are pretrained on ``train`` (recipe
``atom-representation``: group, period and bond lengths of masked atoms), without any reduced formula of the probed
crystals, which come from ``val`` and ``test``. The target is |total magnetisation| / N in Bohr magnetons per atom;
folds never share a chemical system. Each row of ``benchmarks/results/magnetism.csv`` is one (encoder, arm, layers,
probe, seed, fold); a seed is that of the encoder's weights, and finished cells are not run again.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
CSV = RESULTS / "magnetism.csv"
COLUMNS = ["encoder", "arm", "layers", "probe", "seed", "fold", "mae", "r2", "n_train", "seconds"]
RECIPE, SEEDS, N_PROBED, MAX_ATOMS, N_FOLDS = "atom-representation", (0, 1), 3000, 20, 5
PRETRAIN = {
    "MEGNet": {"epochs": 10, "n_crystals": 3000, "max_atoms": MAX_ATOMS, "batch_size": 32},
    "M3GNet": {"epochs": 3, "n_crystals": 3000, "max_atoms": MAX_ATOMS, "batch_size": 32},
}
RANGES = ((0,), (1,), (0, 1), (0, 1, 2), (3,))
DEPTHS = (0, 1, 2, 3)
# Coarser than the published grids (every power of ten from 1e-10 to 1), to keep the study within minutes.
KERNEL = {"alphas": (1e-2, 1e-1), "gammas": (1e-3, 1e-2)}
N_KERNEL = 1000


def finished() -> list[dict[str, str]]:
    """The rows of the CSV."""
    if not CSV.exists():
        return []
    with CSV.open(newline="") as f:
        return list(csv.DictReader(f))


def add(rows: list[dict[str, Any]]) -> None:
    """Append rows, and have them on disk before going on."""
    RESULTS.mkdir(exist_ok=True)
    new = not CSV.exists()
    with CSV.open("a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
        f.flush()
        os.fsync(f.fileno())


def probed_crystals(runs: Path) -> Path:
    """The crystals of the probes as a table, which pretraining leaves out by formula."""
    from matgl_ssl.crystals import CrystalDataset, read_crystals

    path = runs / "probed.parquet"
    if not path.exists():
        folder = Path(os.environ["MATGL_SSL_DATA"]) / "mp37k"
        crystals = [c for part in ("val", "test") for c in read_crystals(folder / f"{part}.parquet")]
        usable = [c for c in crystals if len(c) <= MAX_ATOMS and _has_neighbours(c)]
        chosen = np.sort(np.random.default_rng(0).permutation(len(usable))[:N_PROBED])
        runs.mkdir(parents=True, exist_ok=True)
        CrystalDataset.from_crystals([usable[i] for i in chosen]).write_parquet(path)
    return path


def _has_neighbours(crystal: Any) -> bool:
    """Whether MEGNet's 4 Å see a neighbour of every atom: every encoder gets the same crystals."""
    from matgl_ssl import check_structure

    return not check_structure(crystal, cutoff=4.0)


def representations(encoder: str, runs: Path, task: Path, seed: int) -> Iterator[tuple[str, dict[int, np.ndarray]]]:
    """Vectors of the probed crystals at each layer, of the pretrained encoder and of the same with random weights."""
    import matgl_ssl

    data = Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet"
    for arm in ("random", RECIPE):
        out = runs / encoder / f"{arm}-seed{seed}"
        options = {**PRETRAIN[encoder], **({"epochs": 0} if arm == "random" else {})}
        if not (out / "encoder").exists():
            start = time.perf_counter()
            matgl_ssl.pretrain(
                data=data, out=out, resume=(out / "config.yaml").exists(), model=encoder, recipe=RECIPE, seed=seed,
                exclude_formulas_of=str(task), accelerator="cpu", **options,
            )  # fmt: skip
            logging.info("%s %s seed %d: pretrained in %.0f s", encoder, arm, seed, time.perf_counter() - start)
        vectors = matgl_ssl.StructureFeaturizer(out, layer=DEPTHS).fit_transform(task)
        yield arm, dict(zip(DEPTHS, np.split(vectors, len(DEPTHS), axis=1), strict=True))


def composition(crystals: Any) -> np.ndarray:
    """Fraction of each element that occurs."""
    counts = np.zeros((len(crystals), 119))
    for row, crystal in enumerate(crystals):
        np.add.at(counts[row], crystal.numbers, 1 / len(crystal))
    return counts[:, counts.any(0)]


def probe(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    cell: dict[str, Any],
    done: set[tuple[str, ...]],
    probes: tuple[str, ...] = ("ridge", "kernel ridge"),
) -> None:
    """Probes on every fold that has no row yet; the folds are the same for every representation."""
    from matgl_ssl.evaluation import grouped_folds, kernel_ridge, ridge

    for fold, (train, test) in enumerate(grouped_folds(groups, N_FOLDS, seed=0)):
        rows = []
        for name in probes:
            row = {**cell, "probe": name, "fold": fold}
            if key(row) in done:
                continue
            start = time.perf_counter()
            used = train
            if name == "kernel ridge":
                used = np.sort(np.random.default_rng(fold).permutation(train)[:N_KERNEL])
                search = kernel_ridge(**KERNEL, cv=grouped_folds(groups[used], 2, seed=1))
            else:
                search = ridge(cv=grouped_folds(groups[used], 3, seed=1))
            error = search.fit(x[used], y[used]).predict(x[test]) - y[test]
            r2 = 1 - (error**2).mean() / y[test].var()
            row |= {"mae": round(float(np.abs(error).mean()), 5), "r2": round(float(r2), 4), "n_train": len(used)}
            rows.append({**row, "seconds": round(time.perf_counter() - start, 1)})
        add(rows)


def key(row: dict[str, Any]) -> tuple[str, ...]:
    """What tells a cell from the others."""
    return tuple(str(row[name]) for name in ("encoder", "arm", "layers", "probe", "seed", "fold"))


def target_and_groups(task: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """Crystals, |magnetisation| per atom, and chemical systems."""
    from matgl_ssl import read_crystals
    from matgl_ssl.evaluation import chemical_systems

    crystals = list(read_crystals(task))
    y = np.array([abs(float(c.labels["total_magnetization"])) / len(c) for c in crystals])
    return crystals, y, np.array(chemical_systems(crystals))


def run(encoder: str, runs: Path, seeds: tuple[int, ...]) -> None:
    """Every cell of an encoder, and the baseline that knows the composition alone."""
    task = probed_crystals(runs)
    crystals, y, groups = target_and_groups(task)
    done = {key(row) for row in finished()}
    fractions = composition(crystals)
    probe(fractions, y, groups, {"encoder": "-", "arm": "composition", "layers": "-", "seed": 0}, done)
    for seed in seeds:
        for arm, vectors in representations(encoder, runs, task, seed):
            for layers in RANGES:
                x = np.concatenate([vectors[layer] for layer in layers], axis=1).astype(float)
                cell = {"encoder": encoder, "arm": arm, "layers": "+".join(map(str, layers)), "seed": seed}
                probe(x, y, groups, cell, done)
                beside = {**cell, "layers": f"composition, {cell['layers']}"}  # what it adds to the composition
                probe(np.concatenate([fractions, x], axis=1), y, groups, beside, done, ("ridge",))
            logging.info("%s %s seed %d probed", encoder, arm, seed)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--encoder", choices=sorted(PRETRAIN), default="MEGNet")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/magnetism"), help="where run directories go")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if args.verb == "run":
        run(args.encoder, args.runs, tuple(args.seeds))
    else:
        from magnetism_report import report

        _, y, groups = target_and_groups(probed_crystals(args.runs))
        report(finished(), y, groups, RESULTS)


if __name__ == "__main__":
    main()
