"""Table and figure of ``magnetism.csv``; the target's statistics are read off the probed crystals."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

Scores = dict[tuple[str, str, str, str], dict[tuple[int, int], tuple[float, float]]]
PROBES = ("ridge", "kernel ridge")
MAGNETIC = 0.05
"""μB/atom above which a crystal counts as magnetic."""


def report(rows: list[dict[str, str]], y: np.ndarray, groups: np.ndarray, results: Path) -> None:
    """Write ``magnetism.md`` and ``magnetism.png``.

    Args:
        rows: The rows of the CSV.
        y: The target of every probed crystal.
        groups: Its chemical system.
        results: Folder to write into.
    """
    scores: Scores = defaultdict(dict)
    for row in rows:
        cell = row["encoder"], row["arm"], row["layers"], row["probe"]
        scores[cell][int(row["seed"]), int(row["fold"])] = float(row["mae"]), float(row["r2"])
    encoders = sorted({encoder for encoder, *_ in scores if encoder != "-"})
    lines = [
        "# Magnetism: |total magnetisation| per atom from representations at each range",
        "",
        "Made by `python benchmarks/magnetism.py report` from `magnetism.csv`.",
        "",
        f"{len(y)} crystals of at most 20 atoms in {len(set(groups))} chemical systems;",
        f"{100 * (y > MAGNETIC).mean():.0f} % are magnetic (above {MAGNETIC} μB/atom). Always saying the median,",
        f"{np.median(y):.4f} μB/atom, has a mean absolute error of {np.abs(y - np.median(y)).mean():.4f};",
        f"always saying the mean, {np.abs(y - y.mean()).mean():.4f} (R² 0). Means over folds by chemical system and",
        "seeds of the encoder, ± standard deviation over these cells. The probes minimise squared errors, so R² is",
        "what they aim at. Layers after `composition` stand beside the element fractions, in one ridge regression.",
        "",
    ]
    for probe in PROBES:
        lines += [f"## {probe.capitalize()}", "", *table(scores, encoders, probe), ""]
    for encoder in encoders:
        lines += [f"## {encoder}: pretrained against random weights, R², same folds and seeds", ""]
        lines += [*differences(scores, encoder), ""]
    (results / "magnetism.md").write_text("\n".join(lines))
    plot(scores, encoders, results / "magnetism.png")


def table(scores: Scores, encoders: list[str], probe: str) -> list[str]:
    """A row for each representation."""
    lines = ["| encoder | weights | layers | MAE (μB/atom) | R² | cells |", "|---|---|---|---|---|---|"]
    for encoder in ["-", *encoders]:
        for name, arm, layers, found in sorted(scores, key=lambda cell: (cell[1], _order(cell[2]))):
            if (name, found) != (encoder, probe):
                continue
            mae, r2 = np.array(list(scores[name, arm, layers, found].values())).T
            values = f"{mae.mean():.4f} ± {mae.std():.4f} | {r2.mean():.3f} ± {r2.std():.3f} | {len(mae)}"
            lines.append(f"| {encoder} | {arm} | {layers} | {values} |")
    return lines


def differences(scores: Scores, encoder: str) -> list[str]:
    """Paired differences of R², and of each range from layer 0."""
    arms = sorted({arm for name, arm, *_ in scores if name == encoder})
    pretrained = next(arm for arm in arms if arm != "random")
    ranges = sorted({layers for name, _, layers, _ in scores if name == encoder}, key=_order)
    lines = ["| probe | layers | pretrained - random | pretrained - composition |", "|---|---|---|---|"]
    for probe in PROBES:
        baseline = {fold: r2 for (_, fold), (_, r2) in scores["-", "composition", "-", probe].items()}
        for layers in ranges:
            ours, theirs = (scores.get((encoder, arm, layers, probe), {}) for arm in (pretrained, "random"))
            if both := sorted(set(ours) & set(theirs)):
                gain = np.array([ours[k][1] - theirs[k][1] for k in both])
                beyond = np.array([ours[k][1] - baseline[k[1]] for k in both])
                lines.append(f"| {probe} | {layers} | {counted(gain)} | {counted(beyond)} |")
    return lines


def _order(layers: str) -> tuple[bool, str]:
    """Layers alone before those beside the composition."""
    return layers.startswith("composition"), layers


def counted(differences: np.ndarray) -> str:
    """Mean, and in how many cells it is positive."""
    return f"{differences.mean():+.3f} ({int((differences > 0).sum())} of {len(differences)} up)"


def plot(scores: Scores, encoders: list[str], path: Path) -> None:
    """R² of ridge regression over ranges, one panel per encoder; bars are standard deviations over folds and seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from matgl_ssl.evaluation.figures import SAFE, label_ends

    probe = PROBES[0]
    figure = Figure(figsize=(5.6 * len(encoders), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(encoders), squeeze=False, sharey=True)[0]
    baseline = np.mean([r2 for _, r2 in scores["-", "composition", "-", probe].values()])
    labelled: list[tuple[Any, dict[str, float], dict[str, str]]] = []
    for axes, encoder in zip(panels, encoders, strict=True):
        found = {layers for name, _, layers, kind in scores if (name, kind) == (encoder, probe)}
        ranges = sorted((layers for layers in found if not layers.startswith("composition")), key=_order)
        ends, colours = {"composition alone": baseline}, {"composition alone": "black"}
        for arm, colour in zip(("random", "atom-representation"), SAFE, strict=False):
            for beside, label in (("", "random weights" if arm == "random" else "pretrained"), ("composition, ", None)):
                values = [np.array([r2 for _, r2 in scores[encoder, arm, beside + k, probe].values()]) for k in ranges]
                means, deviations = [v.mean() for v in values], [v.std() for v in values]
                x = np.arange(len(ranges)) + (0.08 if arm == "random" else -0.08)
                style = {"ms": 5, "capsize": 2, "elinewidth": 0.8, "color": colour}
                axes.errorbar(x, means, deviations, fmt="s" if beside else "o", **style)
                if label:
                    ends[label], colours[label] = means[-1], colour
        axes.axhline(baseline, color="black", linestyle=":", lw=1)
        axes.set(title=encoder, xlabel="layers", xticks=range(len(ranges)), xticklabels=ranges)
        labelled.append((axes, ends, colours))
    for axes, ends, colours in labelled:  # once all panels have shaped the axis that they share
        label_ends(axes, ends, colours)
    panels[0].set_ylabel("R² on unseen chemical systems")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit("Run benchmarks/magnetism.py report.")
