"""What a fine-tuning found: scores, predictions, errors."""

from __future__ import annotations

from .blocks import Section, Table, Tile
from .errors import PARTS, by_element, has_predictions, parity, worst
from .runs import Run


def finetuned(run: Run) -> Section | None:
    """Scores and figures; None before the end of the run."""
    if not run.scores or run.crystals is None or not has_predictions(run.crystals):
        return None
    unit = run.unit
    part, scores = shown_scores(run)
    of = f" {unit}" if unit else ""
    text = (
        f"The mean absolute error on {scores['n']:,} {PARTS[part][0]} crystals is {scores['mae']:.4g}{of}. "
        f"Predicting the mean of their labels would err by {scores['mad']:.4g}{of}."
    )
    if part == "train":
        text += " These crystals were trained on: on others the error is larger."
    return Section(
        "How good are the predictions?", text,
        [parity(run.crystals, unit), _table(run, unit), by_element(run.crystals, unit), worst(run.crystals, unit)],
    )  # fmt: skip


def shown_scores(run: Run) -> tuple[str, dict[str, float]]:
    """The part that a reader should look at, and its scores."""
    part = next(name for name in ("test", "val", "train") if name in run.scores)
    return part, run.scores[part]


def tiles(run: Run) -> list[Tile]:
    """The error first."""
    if not run.scores:
        return []
    part, scores = shown_scores(run)
    unit = f" {run.unit}" if run.unit else ""
    found = [Tile(f"{scores['mae']:.3g}{unit}", f"mean absolute error, {PARTS[part][0]}")]
    if scores.get("r2") is not None:
        found.append(Tile(f"{scores['r2']:.2f}", f"R², {PARTS[part][0]}", "1 is perfect; 0 is as good as the mean"))
    if "train" in run.scores:
        found.append(Tile(f"{run.scores['train']['n']:,}", "labels trained on"))
    return found


def _table(run: Run, unit: str) -> Table:
    head = ("part", "crystals", "MAE", "RMSE", "R²", "error of the mean")
    rows = []
    for part, scores in run.scores.items():
        numbers = [scores[name] for name in ("mae", "rmse", "r2", "mad")]
        rows.append((PARTS[part][0], f"{scores['n']:,}", *("" if v is None else f"{v:.4g}" for v in numbers)))
    return Table("Scores", head, rows, f"In {unit}, but for R²." if unit else "", wide=False)
