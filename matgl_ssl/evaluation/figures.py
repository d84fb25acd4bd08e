"""Figures of a benchmark: learning curves, and the improvement over scratch, with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl._files import atomic_path

from .config import SCRATCH, TRIVIAL
from .statistics import Interval, Score, by_fold_and_seed, interval, log_ratios, over_tasks

SAFE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that colour-blind readers can tell apart (Okabe and Ito)."""
FEW = 4
"""Lines that are labelled at their ends; more have a legend."""


def _figure(rows: int, columns: int, width: float, height: float, shared: bool = False) -> tuple[Any, list[Any]]:
    """Panels of that size in inches, row by row, below half an inch for the legend; with ``shared`` axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).ravel())


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """Above the panels, of what any of them shows, in the order of the one that shows most."""
    shown = sorted((panel.get_legend_handles_labels() for panel in panels), key=lambda found: -len(found[1]))
    entries = {name: handle for handles, names in shown for handle, name in zip(handles, names, strict=True)}
    if entries:
        columns = min(len(entries), int(figure.get_figwidth() / 2))
        figure.legend(
            entries.values(), entries.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=9
        )


def _colours(arms: Sequence[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    many = colormaps["tab20"]
    others = [arm for arm in arms if arm != SCRATCH]
    colours = SAFE if len(others) <= len(SAFE) else [many(i) for i in range(many.N)]
    return {SCRATCH: "black"} | {arm: colours[i % len(colours)] for i, arm in enumerate(others)}


def label_ends(panel: Any, ends: Mapping[str, float], colours: Mapping[str, Any]) -> None:
    """Write each line's name beside the panel at the height where the line ends, as close as names fit.

    Args:
        panel: Axes whose limits are final.
        ends: The last y of each line, by its name.
        colours: Of the names.
    """
    to_axes = panel.transData + panel.transAxes.inverted()
    heights = {name: to_axes.transform((panel.get_xlim()[0], y))[1] for name, y in ends.items()}
    names = sorted(heights, key=lambda name: heights[name])
    gap = 12 / (panel.figure.get_figheight() * 72 * panel.get_position().height)
    places: list[float] = []
    for i, name in enumerate(names):
        lowest = places[-1] + gap if places else 0.0
        places.append(min(max(heights[name], lowest), max(1 - gap * (len(names) - 1 - i), lowest)))
    for name, y in zip(names, places, strict=True):
        panel.text(1.02, y, name, color=colours[name], transform=panel.transAxes, va="center", fontsize=9)


def learning_curves(path: Path, scores: Sequence[Score], units: dict[str, str], part: str) -> None:
    """MAE against the number of revealed labels, one panel per task; bars are 95 % intervals.

    Lines join what was scored on the same folds: folds differ by more than numbers of labels do. At most four lines are
    labelled at their ends.

    Args:
        path: Where the PNG goes.
        scores: Of one encoder and method.
        units: Each task's unit.
        part: What was scored.
    """
    tasks = list(dict.fromkeys(score.task for score in scores))
    arms = list(dict.fromkeys(score.arm for score in scores))
    columns = min(3, len(tasks))
    figure, panels = _figure(-(-len(tasks) // columns), columns, 4.2, 3.3)
    for panel in panels[len(tasks) :]:
        panel.set_axis_off()
    colours = _colours(arms)
    for panel, task in zip(panels, tasks, strict=False):  # panels may be left over
        most = max([s.n_labels for s in scores if s.task == task and isinstance(s.n_labels, int)], default=500)
        ends: dict[str, float] = {}
        for i, arm in enumerate(arms):
            by_n: dict[float, list[Score]] = {}
            for s in scores:
                if (s.task, s.arm) == (task, arm):
                    by_n.setdefault(s.n_labels if isinstance(s.n_labels, int) else 2 * most, []).append(s)
            if by_n:
                ends[arm] = _curve(panel, by_n, 1.012 ** (i - len(arms) / 2), colours[arm], arm)
        ticks = sorted({s.n_labels if isinstance(s.n_labels, int) else 2 * most for s in scores if s.task == task})
        panel.set(
            xscale="log", title=task, xlabel="revealed labels", ylabel=f"{part} MAE ({units[task]})".replace(" ()", "")
        )
        panel.set_xticks(ticks, [f"{t}" if t <= most else "all" for t in ticks], minor=False)
        panel.minorticks_off()
        panel.set_xlim(ticks[0] / 1.5, ticks[-1] * 1.5)
        if len(arms) <= FEW:
            label_ends(panel, ends, colours)
    if len(arms) > FEW:
        _legend(figure, panels)
    _save(figure, path)


def _curve(panel: Any, by_n: dict[float, list[Score]], shift: float, colour: Any, label: str) -> float:
    """An arm's errors by number of labels, a line for each set of folds, drawn a little to the side.

    Returns:
        The error with the most labels, where the last line ends.
    """
    folds_of = {x: frozenset(score.fold for score in found) for x, found in by_n.items()}
    sets = list(dict.fromkeys(folds_of.values()))
    most, last = -np.inf, np.nan
    for folds in sets:
        xs = sorted(x for x, found in folds_of.items() if found == folds)
        intervals = np.array([interval(by_fold_and_seed((score, score.mae) for score in by_n[x])) for x in xs])
        means, ends = intervals[:, 0], np.nan_to_num(np.abs(intervals[:, 1:3] - intervals[:, :1])).T
        name = label if folds == sets[0] else None
        panel.errorbar(
            np.array(xs) * shift, means, ends, marker="o", ms=4, lw=1.5, elinewidth=0.8, capsize=2, color=colour,
            label=name,
        )  # fmt: skip
        most, last = max((most, last), (xs[-1], means[-1]))
    return float(last)


def improvements(path: Path, scores: Sequence[Score], mean_over: Sequence[str] = ()) -> bool:
    """Paired difference to scratch in per cent, a panel a number of labels, with 95 % intervals.

    The trivial arm is left out: its differences are many times those of the others.

    Args:
        path: Where the PNG goes.
        scores: Of one encoder and method.
        mean_over: Tasks of which a mean is drawn; all by default.

    Returns:
        Whether there is anything to compare; without it there is no figure.
    """
    tasks = list(dict.fromkeys(score.task for score in scores))
    found: dict[int | str, dict[str, Any]] = {}
    for n in sorted({score.n_labels for score in scores}, key=lambda n: (isinstance(n, str), n)):  # "all" last
        done = [score for score in scores if score.n_labels == n]
        for arm in dict.fromkeys(score.arm for score in done if score.arm not in (SCRATCH, TRIVIAL)):
            if by_task := log_ratios(done, arm):
                found.setdefault(n, {})[arm] = by_task
    if not found:
        return False
    arms = [arm for arm in dict.fromkeys(s.arm for s in scores) if any(arm in by_arm for by_arm in found.values())]
    width, height = 1.2 + 9.6 / (2 + len(found)), 0.9 + 0.36 * len(arms)
    figure, panels = _figure(1, len(found), width, height, shared=True)
    colours = _colours(tasks)
    for panel, (n, by_arm) in zip(panels, found.items(), strict=True):
        panel.axvline(0, color="0.6", lw=0.8)
        for row, arm in enumerate(arms):
            panel.axhspan(row - 0.5, row + 0.5, color="0.96" if row % 2 else "1", zorder=0)
            by_task = by_arm.get(arm, {})
            places = np.linspace(row - 0.35, row + 0.35, len(tasks) + 1)
            for y, task in zip(places, tasks, strict=False):
                if task in by_task:
                    _bar(panel, interval(by_task[task]), y, task, color=colours[task], ms=3, lw=1)
            meant = {task: numbers for task, numbers in by_task.items() if task in (mean_over or tasks)}
            if len(meant) > 1:
                _bar(panel, over_tasks(meant), places[-1], "mean over tasks", color="black", ms=5, lw=1.8)
        panel.set_yticks(range(len(arms)), arms, fontsize=8)
        panel.set_ylim(len(arms) - 0.5, -0.5)
        panel.set(title=f"{n} labels", xlabel="difference to scratch (%)")
    _legend(figure, panels)
    _save(figure, path)
    return True


def _bar(panel: Any, logarithms: Interval, y: float, label: str, **style: Any) -> None:
    mean, low, high, *_ = logarithms.percent()
    ends = np.nan_to_num([[mean - low], [high - mean]])
    panel.errorbar(mean, y, xerr=ends, marker="o", label=label, **style)


def _save(figure: Any, path: Path) -> None:
    """With a palette: a third of the bytes, in the report, too."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130)
    with atomic_path(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(128).save(temporary, format="png", optimize=True)
