"""Every recipe once, small: what its own loss does, what it costs, and what 500 labels make of its encoder.

    MATGL_SSL_DATA=... python benchmarks/recipes.py run      # resumable: finished rows are not run again
    python benchmarks/recipes.py report                      # recipes.md from the CSV

MEGNet of default size. Corpus: 2,000 crystals of Materials Project (``mp37k/train.parquet``; structures as used by
CrysXPP, github.com/kdmsit/MEGNet) of at most 20 atoms, drawn with seed 0, without the reduced formulas of the task.
Task: matbench_phonons, official fold 0, 500 of its training labels, one seed. Energies, forces and stresses come from
the demo set (500 EMT alloys) instead, as the corpus has none. One size, one rate, no selection: this shows that each
recipe works and what it costs, and is no evidence of which is best.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
CSV = RESULTS / "recipes.csv"
COLUMNS = ["recipe", "seed", "mae", "pretrain_minutes", "structures_per_second", "val_loss_first", "val_loss_last"]
PRETRAIN: dict[str, Any] = {
    "model": "MEGNet", "n_crystals": 2000, "max_atoms": 20, "epochs": 6, "batch_size": 64, "seed": 0
}  # fmt: skip
FINETUNE: dict[str, Any] = {
    "target": "last_phdos_peak", "unit": "1/cm", "split_column": "matbench_fold", "fold": 0, "n_train": 500,
    "val_fraction": 0, "epochs": 60, "batch_size": 32, "lr": 3e-3,
}  # fmt: skip
SEEDS = (0,)


def finished() -> list[dict[str, str]]:
    """The rows of the CSV."""
    if not CSV.exists():
        return []
    with CSV.open(newline="") as f:
        return list(csv.DictReader(f))


def pretrained(recipe: str, runs: Path) -> tuple[Path, dict[str, object]]:
    """The run directory of a recipe's encoder, and what pretraining cost and did."""
    import matgl_ssl
    from matgl_ssl.crystals.demo import demo_task

    data = Path(os.environ["MATGL_SSL_DATA"])
    out, minutes = runs / recipe, runs / f"{recipe}.minutes"
    if not (out / "encoder").exists():
        start = time.perf_counter()
        task = str(data / "tasks" / "matbench_phonons.parquet")
        given: dict[str, Any] = {"data": data / "mp37k" / "train.parquet", "exclude_formulas_of": task, **PRETRAIN}
        if recipe == "energy-force-stress":
            given = {**given, "data": demo_task(500), "n_crystals": None, "exclude_formulas_of": None, "batch_size": 16}
        matgl_ssl.pretrain(
            out=out, resume=(out / "config.yaml").exists(), recipe=recipe, accelerator="cpu", **given
        )  # fmt: skip
        minutes.write_text(json.dumps((time.perf_counter() - start) / 60))
    with (out / "metrics.csv").open(newline="") as f:
        epochs = [row for row in csv.DictReader(f) if row["epoch"]]
    return out, {
        "pretrain_minutes": f"{json.loads(minutes.read_text()):.2f}",
        "structures_per_second": f"{sum(float(r['structures_per_second']) for r in epochs) / len(epochs):.1f}",
        "val_loss_first": f"{float(epochs[0]['val_loss']):.4g}",
        "val_loss_last": f"{float(epochs[-1]['val_loss']):.4g}",
    }


def run(runs: Path) -> None:
    """Every recipe and seed that has no row yet."""
    import matgl_ssl
    from matgl_ssl import list_recipes

    task = Path(os.environ["MATGL_SSL_DATA"]) / "tasks" / "matbench_phonons.parquet"
    for recipe in ("scratch", *list_recipes()):
        for seed in SEEDS:
            if any((row["recipe"], row["seed"]) == (recipe, str(seed)) for row in finished()):
                continue
            facts: dict[str, object] = {}
            start: dict[str, Any] = {"model": "MEGNet"}
            if recipe != "scratch":
                start["init_from"], facts = pretrained(recipe, runs)
            out = runs / f"phonons-{recipe}-{seed}"
            result = matgl_ssl.finetune(
                data=task, out=out, resume=(out / "config.yaml").exists(), accelerator="cpu", seed=seed,
                **start, **FINETUNE,
            )  # fmt: skip
            new = not CSV.exists()
            with CSV.open("a", newline="") as f:
                writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow({"recipe": recipe, "seed": seed, "mae": f"{result.metrics['mae']:.4f}", **facts})


def report() -> None:
    """``recipes.md``: a row a recipe, in the order of the mean error."""
    rows = finished()
    means: dict[str, list[float]] = {r["recipe"]: [] for r in rows}
    for row in rows:
        means[row["recipe"]].append(float(row["mae"]))
    scratch = {row["seed"]: float(row["mae"]) for row in rows if row["recipe"] == "scratch"}
    lines = [
        "# Every recipe once, small", "",
        "Made by `benchmarks/recipes.py`, which says how; every seed is in `recipes.csv`. MEGNet, 2,000 crystals, 6",
        "epochs; then matbench_phonons, official fold 0, 500 labels, 60 epochs, 3e-3. One corpus, one rate, one seed:",
        "it shows that the recipes work and what they cost, not which is best.", "",
        "| recipe | held-out loss, first → last | structures/s | minutes | MAE (1/cm) | against scratch |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for recipe in sorted(means, key=lambda r: sum(means[r]) / len(means[r])):
        own = [row for row in rows if row["recipe"] == recipe]
        first = own[0]
        gain = sum(float(r["mae"]) - scratch[r["seed"]] for r in own) / len(own)
        loss = f"{first['val_loss_first']} → {first['val_loss_last']}" if first["val_loss_last"] else "-"
        lines.append(
            f"| {recipe} | {loss} | {first['structures_per_second'] or '-'} | {first['pretrain_minutes'] or '-'} | "
            f"{', '.join(row['mae'] for row in own)} | {'-' if recipe == 'scratch' else f'{gain:+.2f}'} |"
        )
    (RESULTS / "recipes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments.runs)
    report()


if __name__ == "__main__":
    main()
