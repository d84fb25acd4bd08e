"""Tables of a benchmark, and the sentence each needs: what was left out, and what was not run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import BenchmarkConfig
from .plan import Cell
from .statistics import Interval, Score, adjusted, failed, interval, log_ratios, over_tasks, verdicts

NOT_RUN = "not run"
NO_PAIR = "-"


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        title: Its heading.
        header: Names of the columns.
        rows: As many entries each as there are columns.
        note: A sentence below it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown."""
        lines = [_line(self.header), _line(("---",) * len(self.header)), *map(_line, self.rows)] if self.rows else []
        parts = ["\n".join(lines), self.note]
        return "\n\n".join([f"## {self.title}", *filter(None, parts)]) + "\n"


def error_tables(
    cells: Sequence[Cell], scores: Sequence[Score], units: dict[str, str], method: str, config: BenchmarkConfig
) -> list[Table]:
    """Tables for each encoder and number of labels: errors, and paired differences to each arm of ``compare``.

    Args:
        cells: The planned cells of one method; arms of which nothing is finished are named below the first table.
        scores: The finished ones.
        units: Each task's unit.
        method: For the headings.
        config: What was scored, the arms that all others are compared with, and the tasks that means are over.
    """
    tables = []
    for encoder, n in dict.fromkeys((cell.encoder, cell.n_labels) for cell in cells):
        planned = [cell for cell in cells if (cell.encoder, cell.n_labels) == (encoder, n)]
        done = [score for score in scores if (score.encoder, score.n_labels) == (encoder, n)]
        tasks = list(dict.fromkeys(cell.task for cell in planned))
        arms = list(dict.fromkeys(cell.arm for cell in planned))
        what = f"{encoder}, {n} labels, {method}"
        header = ("arm", *(f"{task} ({units[task]})" if units[task] else task for task in tasks))
        rows = {arm: tuple(_errors(planned, done, task, arm) for task in tasks) for arm in arms}
        begun = [arm for arm in arms if set(rows[arm]) != {NOT_RUN}]
        waiting = ", ".join(arm for arm in arms if arm not in begun)
        note = f"{NOT_RUN.capitalize()} on any task: {waiting}." if waiting else ""
        mae = tuple((arm, *rows[arm]) for arm in begun)
        tables.append(Table(f"{config.part.capitalize()} MAE: {what}", header, mae, note))
        mean_over = [task for task in tasks if task in (config.mean_over or tasks)]
        over = "tasks" if len(mean_over) == len(tasks) else f"{len(mean_over)} tasks"
        mean = [f"mean over {over}"] if len(mean_over) > 1 else []
        heads = ("arm", *tasks, *mean, "won / tied / lost")
        for other in (arm for arm in config.compare if arm in begun and len(begun) > 1):
            arms = [arm for arm in begun if arm != other]
            paired = _paired(planned, done, arms, other, tasks, mean_over, config.headline)
            title = f"Paired difference to {other} in per cent, 95 % interval: {what}"
            tables.append(Table(title, heads, paired, _failures(done, other, mean_over, config.headline or begun)))
    return tables


def means_table(cells: Sequence[Cell], scores: Mapping[str, Sequence[Score]], config: BenchmarkConfig) -> Table:
    """Every arm's mean over tasks of the difference to the first arm of ``compare``; no row where nothing has a mean.

    Args:
        cells: The planned cells.
        scores: The finished ones of each method.
        config: The arm that others are compared with, and the tasks that means are over.
    """
    other = config.compare[0]
    columns, heads = [], []
    for encoder, n, method in dict.fromkeys((cell.encoder, cell.n_labels, cell.method) for cell in cells):
        planned = [cell for cell in cells if (cell.encoder, cell.n_labels, cell.method) == (encoder, n, method)]
        tasks = {cell.task for cell in planned}
        mean_over = [task for task in config.mean_over or config.tasks if task in tasks]
        if len(mean_over) > 1:
            done = [score for score in scores[method] if (score.encoder, score.n_labels) == (encoder, n)]
            columns.append((planned, done, mean_over))
            heads.append(f"{encoder}, {n} labels, {method}, {len(mean_over)} tasks")
    arms = [arm for arm in dict.fromkeys(cell.arm for cell in cells) if arm != other]
    entries = [_means(planned, done, arms, other, over, config.headline) for planned, done, over in columns]
    rows = ((arm, *(column[arm] for column in entries)) for arm in arms)
    return Table(
        f"Means over tasks: paired difference to {other} in per cent, 95 % interval", ("arm", *heads),
        tuple(row for row in rows if set(row[1:]) - {NO_PAIR}),
    )  # fmt: skip


def choices_table(cells: Sequence[Cell], results: Sequence[dict[str, Any] | None]) -> Table:
    """What each arm chose from the grid, and its validation errors."""
    rows = {}
    for cell, result in zip(cells, results, strict=True):
        key = (cell.task, cell.encoder, cell.arm, str(cell.n_labels), str(cell.fold))
        if result and result.get("tried"):
            tried: list[tuple[dict[str, object], float]] = result["tried"]
            rows[key] = (*key, _options(result["choice"]), "; ".join(f"{_options(c)}: {e:.4g}" for c, e in tried))
    return Table(
        "Chosen on validation, seed 0", ("task", "encoder", "arm", "labels", "fold", "chosen", "validation MAE"),
        tuple(rows.values()),
    )  # fmt: skip


def intervals_table(cells: Sequence[Cell], results: Sequence[dict[str, Any] | None]) -> Table:
    """What ``fit`` promises: how many test crystals lie in their intervals, and the errors of its plain MatGL model."""
    found: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for cell, result in zip(cells, results, strict=True):
        if result and "covered" in result:
            plain = float(result.get("plain_model", np.nan)) / float(result["mae"])
            key = cell.task, cell.encoder, cell.arm, str(cell.n_labels)
            found.setdefault(key, []).append((100 * result["covered"], result["width"], 100 * (plain - 1)))
    rows = []
    for where, of_cells in found.items():
        covered, width, further = np.mean(of_cells, 0)
        more = "-" if np.isnan(further) else f"{further:+.1f}"
        rows.append((*where, str(len(of_cells)), f"{covered:.1f}", f"{width:.4g}", more))
    heads = "in their interval (%)", "its width", "plain model's error to that of fit (%)"
    return Table(
        "Intervals and plain models of fit, means over cells", ("task", "encoder", "arm", "labels", "cells", *heads),
        tuple(rows),
    )  # fmt: skip


def _errors(planned: Sequence[Cell], done: Sequence[Score], task: str, arm: str) -> str:
    wanted = [cell for cell in planned if (cell.task, cell.arm) == (task, arm)]
    if not wanted:
        return NOT_RUN
    if all(cell.unit is None for cell in wanted):
        return "refused: same quantity"
    errors = [score.mae for score in done if (score.task, score.arm) == (task, arm)]
    if not errors:
        return NOT_RUN
    is_same = np.allclose(errors, errors[0], rtol=1e-9, atol=0)  # but for rounding errors
    spread = f" ± {0 if is_same else np.std(errors, ddof=1):.2g}" if len(errors) > 1 else ""
    share = f" ({len(errors)} of {len(wanted)})" if len(errors) < len(wanted) else ""
    return f"{np.mean(errors):.4g}{spread}{share}"


def _paired(
    planned: Sequence[Cell],
    done: Sequence[Score],
    arms: Sequence[str],
    other: str,
    tasks: Sequence[str],
    mean_over: Sequence[str],
    headline: Sequence[str],
) -> tuple[tuple[str, ...], ...]:
    """Rows of differences by task, of their mean, and of how many are clear."""
    ratios = {arm: log_ratios(done, arm, other) for arm in arms}
    of_all = {(arm, task): interval(table) for arm, of in ratios.items() for task, table in of.items()}
    clear = adjusted(of_all, lambda entry: entry[0] in headline)
    means = _means(planned, done, arms, other, mean_over, headline) if len(mean_over) > 1 else {}
    rows = []
    for arm in arms:
        found = {task: clear[arm, task] for task in tasks if task in ratios[arm]}
        entries = [
            percent(found[task], _seeds(planned, arm, {task: ratios[arm][task]})) if task in found else NO_PAIR
            for task in tasks
        ]
        counts = verdicts(found.values())
        known = [counts[verdict] for verdict in ("won", "tied", "lost")]
        tally = " / ".join(map(str, known)) if any(known) else NO_PAIR
        rows.append((arm, *entries, *([means[arm]] if means else []), tally))
    return tuple(rows)


def _means(
    planned: Sequence[Cell],
    done: Sequence[Score],
    arms: Sequence[str],
    other: str,
    over: Sequence[str],
    headline: Sequence[str],
) -> dict[str, str]:
    """Each arm's mean over tasks."""
    ratios = {arm: {task: t for task, t in log_ratios(done, arm, other).items() if task in over} for arm in arms}
    means = {arm: over_tasks(by_task) for arm, by_task in ratios.items() if len(by_task) > 1}
    clear = adjusted(means, lambda arm: arm in headline)
    entries = dict.fromkeys(arms, NO_PAIR)
    for arm, found in clear.items():
        tasks = [f"{len(ratios[arm])} tasks"] if len(ratios[arm]) < len(over) else []
        entries[arm] = percent(found, [*tasks, *_seeds(planned, arm, ratios[arm])])
    return entries


def _failures(done: Sequence[Score], reference: str, over: Sequence[str], arms: Sequence[str]) -> str:
    """Which runs of the reference failed, and what some arms' means are without them."""
    bad = failed([score for score in done if score.arm == reference and score.task in over])
    if not bad:
        return ""
    named = ", ".join(f"{score.task} seed {score.seed} ({score.mae:.4g})" for score in bad)
    gone = {(score.task, score.seed, score.fold) for score in bad}
    kept = [score for score in done if (score.task, score.seed, score.fold) not in gone]
    ratios = {arm: {t: table for t, table in log_ratios(kept, arm, reference).items() if t in over} for arm in arms}
    means = ", ".join(
        f"{arm} {over_tasks(by_task).percent().mean:+.1f}"
        for arm, by_task in ratios.items() if arm != reference and len(by_task) == len(over)
    )  # fmt: skip
    told = f"Runs of {reference} with more than 1.5 times the median error of their seeds: {named}."
    return f"{told} Means without these pairs: {means}." if means else told


def _seeds(planned: Sequence[Cell], arm: str, by_task: Mapping[str, np.ndarray]) -> list[str]:
    """How many seeds an interval knows of, where it is one, which says nothing of others, or fewer than planned.

    And how many pairs, where some folds of a seed are missing.
    """
    wanted = {task: [c for c in planned if (c.task, c.arm) == (task, arm)] for task in by_task}
    known = {task: ~np.isnan(table) for task, table in by_task.items()}
    notes = []
    n = min(int(table.any(0).sum()) for table in known.values())
    if n == 1 or n < min(len({c.seed for c in cells}) for cells in wanted.values()):
        notes.append(f"{n} seed{'s' * (n > 1)}")
    pairs = sum(int(table.sum()) for table in known.values())
    if pairs < sum(len({c.fold for c in wanted[t]}) * int(table.any(0).sum()) for t, table in known.items()):
        notes.append(f"{pairs} of {sum(map(len, wanted.values()))} pairs")
    return notes


def percent(logarithms: Interval, notes: Sequence[str] = ()) -> str:
    """``**-12.3 [-15.0, -9.1]** (2 tasks)``; bold where it is clearly better, by more than one seed."""
    mean, low, high, _, n = logarithms.percent()
    if math.isnan(low):
        return f"{mean:+.1f} ({', '.join([f'{n} pair' + 's' * (n > 1), *notes])})"
    told = f" ({', '.join(notes)})" if notes else ""
    entry = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"{f'**{entry}**' if logarithms.verdict == 'won' and '1 seed' not in notes else entry}{told}"


def _options(options: object) -> str:
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in dict(options).items())  # type: ignore[call-overload]


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entry.replace('|', '/') for entry in entries)} |"
