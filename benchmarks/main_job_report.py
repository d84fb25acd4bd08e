"""Table and figure of ``main_job.csv``: nothing in them comes from anywhere else."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np


def report(rows: list[dict[str, str]], results: Path) -> None:
    """Write ``main_job.md`` and ``main_job.png``.

    Args:
        rows: The rows of the CSV.
        results: Folder to write into.
    """
    scores: dict[str, dict[str, dict[tuple[int, int], float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        scores[row["encoder"]][row["arm"]][int(row["seed"]), int(row["fold"])] = float(row["mae"])
    lines = [
        "# Main job: matbench_phonons, official folds, test MAE in 1/cm",
        "",
        "Made by `python benchmarks/main_job.py report` from `main_job.csv`. Leak rule: every reduced formula of the",
        "task is removed from the pretraining crystals. Both arms share every option; the last weights are scored.",
        "",
    ]
    pairs = {}
    for encoder, arms in scores.items():
        pretrained = next(arm for arm in arms if arm != "scratch")
        both = sorted(set(arms["scratch"]) & set(arms[pretrained]))
        lines += [
            f"## {encoder}",
            "",
            f"| seed | fold | scratch | {pretrained} | difference |",
            "|---|---|---|---|---|",
        ]
        for key in both:
            a, b = arms["scratch"][key], arms[pretrained][key]
            lines.append(f"| {key[0]} | {key[1]} | {a:.2f} | {b:.2f} | {b - a:+.2f} |")
        a, b = (np.array([arms[arm][key] for key in both]) for arm in ("scratch", pretrained))
        low, high = interval(b - a)
        lines += [
            f"| mean | | {a.mean():.2f} | {b.mean():.2f} | {(b - a).mean():+.2f} |",
            "",
            f"Paired difference {(b - a).mean():+.2f} 1/cm ({100 * (b - a).mean() / a.mean():+.1f} %), 95 % bootstrap",
            f"interval over {len(both)} pairs [{low:+.2f}, {high:+.2f}]; lower in {int((b < a).sum())} of {len(both)}.",
            "",
        ]
        pairs[encoder] = (pretrained, a, b)
    (results / "main_job.md").write_text("\n".join(lines))
    plot(pairs, results / "main_job.png")


def interval(differences: np.ndarray, n: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(len(differences), size=(n, len(differences)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def plot(pairs: dict[str, tuple[str, np.ndarray, np.ndarray]], path: Path) -> None:
    """One panel an encoder, one line a pair."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(pairs), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (encoder, (arm, a, b)) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True
    ):
        axes.plot([0, 1], [a, b], "o-", color="tab:blue", alpha=0.5)
        axes.plot([0, 1], [a.mean(), b.mean()], "ks-", label="mean")
        axes.set(xticks=[0, 1], xticklabels=["scratch", arm], xlim=(-0.4, 1.4), title=encoder, ylim=(0, None))
        axes.set_ylabel("MAE of last_phdos_peak (1/cm)")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    raise SystemExit("Run benchmarks/main_job.py report.")
