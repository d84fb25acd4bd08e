"""How good predictions are, in numbers and in a picture."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap

from matgl_ssl._files import atomic_path

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """A crystal's label and what the model says of it, in the target's own unit."""

    id: str
    part: str
    label: float
    prediction: float


def columns(table: Sequence[Row], part: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of a part."""
    rows = [row for row in table if row.part == part]
    return np.array([row.label for row in rows]), np.array([row.prediction for row in rows])


def as_csv(table: Sequence[Row]) -> str:
    """The table as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "split", "target", "prediction"])
    writer.writerows([*row[:2], *(f"{value:.9g}" for value in row[2:])] for row in table)
    return text.getvalue()


def compare_with_median(table: Sequence[Row], part: str, mae: float, target: str) -> None:
    """Warn where a constant is as good: few labels, or labels with long tails, can teach a model less than nothing."""
    labels, median = columns(table, part)[0], np.median(columns(table, "train")[0])
    constant = scores(labels, np.full_like(labels, median))["mae"]
    if not mae < constant:
        logger.warning(
            "The %s MAE of %s, %.4g, is not below the %.4g of predicting the training labels' median: a constant is as "
            "good. Give it more labels, or other learning rates (--lr, --layer-decay, --epochs).",
            part, target, mae, constant,
        )  # fmt: skip


def scores(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Mean absolute and root-mean-square error, R², and the error of predicting the mean; all in the label's unit.

    Args:
        labels: Shape ``(n,)``.
        predictions: Shape ``(n,)``.
    """
    errors = predictions - labels
    spread = float(((labels - labels.mean()) ** 2).sum())
    return {
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "r2": 1.0 - float((errors**2).sum()) / spread if spread > 0 else float("nan"),
        "mad": float(np.abs(labels - labels.mean()).mean()),
        "n": len(labels),
    }


def mae_interval(labels: np.ndarray, predictions: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean absolute error, by bootstrap over crystals; None for fewer than ten of them.

    Args:
        labels: Shape ``(n,)``.
        predictions: Shape ``(n,)``.
    """
    errors = np.abs(predictions - labels)
    if len(errors) < 10 or not errors.std():
        return None
    found = bootstrap((errors,), np.mean, n_resamples=2000, batch=100, method="percentile", rng=0)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def parity_plot(path: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], label: str) -> None:
    """Predictions against labels, each part in its colour.

    Args:
        path: Where the PNG goes.
        parts: (labels, predictions) of each part.
        label: Name and unit of the target.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = {"train": "0.75", "val": "tab:orange", "test": "tab:blue"}
    for name, (labels, predictions) in parts.items():
        mae = np.abs(predictions - labels).mean()
        axes.plot(labels, predictions, ".", ms=4, color=colours.get(name), label=f"{name}, MAE {mae:.3g}")
    both = np.concatenate([np.concatenate(pair) for pair in parts.values()])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, "k-", lw=0.8)
    axes.set(xlabel=f"{label}: label", ylabel="prediction", aspect="equal")
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
