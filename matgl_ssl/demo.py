"""The main job on the embedded data: ``python -m matgl_ssl.demo`` (what ``make demo`` runs).

Pretrain MEGNet on prototype crystals without labels, fine-tune it on 100 bulk moduli of EMT alloys, do the same from
scratch, and show both. Every seed draws other labels; both arms of a seed see the same ones.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.console import configure_logging
from matgl_ssl.crystals import write_demo
from matgl_ssl.training.finetune import finetune
from matgl_ssl.training.pretrain import pretrain

TARGET, UNIT = "bulk_modulus", "GPa"
ARMS = ("scratch", "pretrained")
SHARED: dict[str, Any] = {
    "n_train": 100,
    "test_fraction": 0.5,
    "epochs": 60,
    "batch_size": 16,
    "lr": 3e-3,
    "accelerator": "cpu",
}


def run(out: Path, *, recipe: str, seeds: Sequence[int], n_corpus: int, epochs: int) -> dict[str, list[float]]:
    """Pretrain once, fine-tune each arm and seed.

    Args:
        out: Where the data and the run directories go; must not hold an earlier demo.
        recipe: The recipe to pretrain with.
        seeds: Seeds of the fine-tuning runs.
        n_corpus: Crystals to pretrain on.
        epochs: Passes over them.

    Returns:
        Test MAE of each arm and, under ``"mean"``, of predicting the mean; one a seed, in GPa.
    """
    data = write_demo(out / "data", n_corpus=n_corpus)
    pretrained = pretrain(
        model="MEGNet", recipe=recipe, data=data["corpus"], out=out / "pretrained", epochs=epochs, accelerator="cpu"
    )
    errors: dict[str, list[float]] = {arm: [] for arm in ("mean", *ARMS)}
    for seed in seeds:
        for arm in ARMS:
            start = str(pretrained.out) if arm == "pretrained" else "scratch"
            options: dict[str, Any] = {**SHARED, "model": "MEGNet", "init_from": start, "seed": seed}
            folder = out / f"{arm}-{seed}"
            result = finetune(data=data["task"], target=TARGET, out=folder, **options)
            errors[arm].append(result.metrics["mae"])
        errors["mean"].append(result.metrics["mad"])
    return errors


def table(errors: dict[str, list[float]], seeds: Sequence[int]) -> str:
    """The scores as text, and the paired difference."""
    lines = [f"Test MAE of {TARGET} ({UNIT}), 100 labels", ""]
    lines.append(f"{'':<22}" + "".join(f"seed {s:<6}" for s in seeds) + "mean")
    names = {"mean": "predicting the mean", "scratch": "from scratch", "pretrained": "pretrained"}
    for arm, name in names.items():
        lines.append(f"{name:<22}" + "".join(f"{e:<11.2f}" for e in errors[arm]) + f"{np.mean(errors[arm]):.2f}")
    difference = np.array(errors["pretrained"]) - np.array(errors["scratch"])
    won = int((difference < 0).sum())
    mean = f"{difference.mean():+.2f} {UNIT}"
    lines += ["", f"Pretrained minus scratch: {mean} on average, better in {won} of {len(seeds)} seeds."]
    return "\n".join(lines)


def figure(errors: dict[str, list[float]], path: Path) -> None:
    """Both arms, one line a seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(4, 4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for pair in zip(*(errors[arm] for arm in ARMS), strict=True):
        axes.plot(range(len(ARMS)), pair, "o-", color="tab:blue", alpha=0.6)
    axes.axhline(float(np.mean(errors["mean"])), color="0.6", ls="--", label="predicting the mean")
    axes.set(xticks=range(len(ARMS)), xticklabels=ARMS, xlim=(-0.4, 1.4), ylim=(0, None), ylabel=f"test MAE ({UNIT})")
    axes.set_title("100 labels of EMT alloys, one line a seed", fontsize=10)
    axes.legend(frameon=False)
    canvas.savefig(path, dpi=150)


def main() -> None:
    """Run the demo and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the demo (default: demo)")
    parser.add_argument(
        "--recipe", default="derivative-denoising", help="recipe to pretrain with (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--n-corpus", type=int, default=1500, help="crystals to pretrain on (default: 1500)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of pretraining (default: 8)")
    args = parser.parse_args()
    configure_logging(logging.INFO)
    start = time.perf_counter()
    errors = run(args.out, recipe=args.recipe, seeds=args.seeds, n_corpus=args.n_corpus, epochs=args.epochs)
    path = args.out / "demo.png"
    figure(errors, path)
    print("\n" + table(errors, args.seeds))
    print(f"\nFigure: {path}   ({(time.perf_counter() - start) / 60:.1f} minutes)")


if __name__ == "__main__":
    main()
