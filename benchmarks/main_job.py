"""The main job on real data: pretrain without labels, fine-tune on matbench_phonons, against scratch.

    MATGL_SSL_DATA=... python benchmarks/main_job.py run --encoder MEGNet     # pretrains once, then its cells
    MATGL_SSL_DATA=... python benchmarks/main_job.py run --encoder M3GNet
    python benchmarks/main_job.py report                                     # table and figure from the CSV

``MATGL_SSL_DATA`` holds ``mp37k/train.parquet`` (Materials Project structures as used by CrysXPP,
github.com/kdmsit/MEGNet) and ``tasks/matbench_phonons.parquet`` (Matbench v0.1 with its official folds). Every cell
(encoder, arm, fold, seed) is one fine-tuning run; finished ones are rows of ``benchmarks/results/main_job.csv`` and are
not run again, interrupted ones resume.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
CSV = RESULTS / "main_job.csv"
COLUMNS = ["task", "encoder", "arm", "n_labels", "seed", "fold", "mae", "minutes"]
TASK, TARGET, RECIPE, FOLDS = "matbench_phonons", "last_phdos_peak", "masked-atoms", range(5)

# Both arms of an encoder share every option; nothing was selected on test scores.
PRETRAIN = {
    "MEGNet": {"epochs": 10, "batch_size": 64},
    "M3GNet": {"epochs": 5, "batch_size": 32, "n_crystals": 6000, "max_atoms": 30},
}
FINETUNE = {
    "MEGNet": {"epochs": 100, "batch_size": 32, "lr": 3e-3, "val_fraction": 0},
    "M3GNet": {"epochs": 60, "batch_size": 32, "lr": 1e-3, "val_fraction": 0},
}


def finished() -> list[dict[str, str]]:
    """The rows of the CSV."""
    if not CSV.exists():
        return []
    with CSV.open(newline="") as f:
        return list(csv.DictReader(f))


def add(row: dict[str, object]) -> None:
    """Append one row, and have it on disk before going on."""
    RESULTS.mkdir(exist_ok=True)
    new = not CSV.exists()
    with CSV.open("a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
        f.flush()
        os.fsync(f.fileno())


def run(encoder: str, runs: Path, seeds: tuple[int, ...], folds: list[int]) -> None:
    """Pretrain once, then every cell that has no row yet; the arms of a fold follow each other."""
    import matgl_ssl

    data = Path(os.environ["MATGL_SSL_DATA"])
    task = data / "tasks" / f"{TASK}.parquet"
    pretrained = runs / encoder / "pretrained"
    if not (pretrained / "encoder").exists():
        start = time.perf_counter()
        matgl_ssl.pretrain(
            data=data / "mp37k" / "train.parquet", out=pretrained, resume=(pretrained / "config.yaml").exists(),
            model=encoder, recipe=RECIPE, exclude_formulas_of=str(task), accelerator="cpu", **PRETRAIN[encoder],
        )  # fmt: skip
        (pretrained / "minutes.json").write_text(json.dumps((time.perf_counter() - start) / 60))
    done = {(r["encoder"], r["arm"], r["seed"], r["fold"]) for r in finished()}
    for seed in seeds:
        for fold in folds:
            for arm in ("scratch", RECIPE):
                if (encoder, arm, str(seed), str(fold)) in done:
                    continue
                out = runs / encoder / f"{arm}-seed{seed}-fold{fold}"
                start = time.perf_counter()
                result = matgl_ssl.finetune(
                    data=task, target=TARGET, split_column="matbench_fold", fold=fold, seed=seed, out=out,
                    resume=(out / "config.yaml").exists(), model=encoder, accelerator="cpu",
                    **({"init_from": str(pretrained)} if arm != "scratch" else {}), **FINETUNE[encoder],
                )  # fmt: skip
                minutes = round((time.perf_counter() - start) / 60, 2)
                add(
                    dict(
                        zip(
                            COLUMNS,
                            (TASK, encoder, arm, "all", seed, fold, result.metrics["mae"], minutes),
                            strict=True,
                        )
                    )
                )
                logging.info("%s %s seed %d fold %d: MAE %.2f 1/cm", encoder, arm, seed, fold, result.metrics["mae"])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--encoder", choices=sorted(PRETRAIN), default="MEGNet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/main_job"), help="where run directories go")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if args.verb == "run":
        run(args.encoder, args.runs, tuple(args.seeds), args.folds)
    else:
        from main_job_report import report

        report(finished(), RESULTS)


if __name__ == "__main__":
    main()
