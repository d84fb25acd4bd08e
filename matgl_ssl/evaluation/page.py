"""A benchmark as one HTML page: differences with intervals, errors against numbers of labels, and all tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from matgl_ssl.reporting.blocks import COLOURS, GREY, INK, Choice, Section, Tile, Trace, layout, plain
from matgl_ssl.reporting.blocks import Table as ShownTable
from matgl_ssl.reporting.page import page
from matgl_ssl.reporting.record import as_text

from .config import BenchmarkConfig
from .figures import FEW
from .statistics import Interval, Score, interval, log_ratios, over_tasks
from .tables import Table


def study_page(
    title: str, config: BenchmarkConfig, scores: Mapping[str, Sequence[Score]], units: Mapping[str, str],
    tables: Sequence[Table], about: Sequence[str],
) -> str:  # fmt: skip
    """The page.

    Args:
        title: The benchmark's name.
        config: What was asked.
        scores: The finished runs of each method.
        units: Unit of each task's errors.
        tables: All tables of the report.
        about: Sentences on what was run, and how to read the tables.
    """
    finished = [score for of in scores.values() for score in of]
    counted = {"arm": "methods", "task": "tasks", "seed": "seeds"}
    tiles = [Tile(str(len({getattr(score, name) for score in finished})), says) for name, says in counted.items()]
    shown = [
        ShownTable(t.title, t.header, [[_plain(cell) for cell in row] for row in t.rows], t.note, folded=True)
        for t in tables
    ]
    options = [(name, as_text(value)) for name, value in config.model_dump(mode="json").items()]
    found = [
        *_section("Is it better?", _GAINS, _gains(scores, config)),
        *_section("How large are errors?", _ERRORS, _errors(scores, config, units)),
        Section("Tables", _plain(" ".join(about)), shown),
        Section("What was run", "", [ShownTable("Options", ("option", "value"), options, folded=True)]),
    ]
    return page(title, "", [Tile(f"{len(finished):,}", "runs"), *tiles], found)


_GAINS = (
    "A point left of the line has smaller errors than the method that it is compared with. Bars are 95 % intervals. "
    "A difference whose bar crosses the line may be chance."
)
_ERRORS = "Mean absolute errors on crystals that no method saw, with the standard deviation over seeds and folds."


def _section(title: str, text: str, figure: Choice | None) -> list[Section]:
    return [Section(title, text, [figure])] if figure else []


def _plain(text: str) -> str:
    """Without Markdown's marks."""
    return text.replace("**", "").replace("`", "")


def _gains(scores: Mapping[str, Sequence[Score]], config: BenchmarkConfig) -> Choice | None:
    """Paired differences with intervals: for each number of labels the mean over tasks, and each task."""
    other, options = config.compare[0], {}
    for method, found in scores.items():
        for encoder, n in dict.fromkeys((score.encoder, score.n_labels) for score in found):
            done = [score for score in found if (score.encoder, score.n_labels) == (encoder, n)]
            ratios = {arm: log_ratios(done, arm, other) for arm in dict.fromkeys(s.arm for s in done) if arm != other}
            ratios = {arm: by_task for arm, by_task in ratios.items() if by_task}
            tasks = list(dict.fromkeys(task for by_task in ratios.values() for task in by_task))
            over = [task for task in tasks if task in (config.mean_over or tasks)]
            where = f"{encoder}, {n} labels, {method}"
            if len(over) > 1:
                means = {
                    arm: over_tasks({task: table for task, table in by_task.items() if task in over})
                    for arm, by_task in ratios.items()
                }
                options[f"{where}: mean over tasks"] = _forest(means, other)
            for task in tasks:
                of_task = {arm: interval(by_task[task]) for arm, by_task in ratios.items() if task in by_task}
                options[f"{where}: {task}"] = _forest(of_task, other)
    if not options:
        return None
    rows = max(len(traces[0]["y"]) for traces, _ in options.values())
    caption = "Choose the number of labels and the task above the figure."
    return Choice("", "Runs", options, caption, height=110 + 26 * rows, wide=True)


def _forest(found: Mapping[str, Interval], other: str) -> tuple[list[Trace], dict[str, object]]:
    """A point with its interval for each method."""
    differences = {arm: each.percent() for arm, each in found.items()}
    names = [plain(arm) for arm in differences]
    mean = [each.mean for each in differences.values()]
    trace: Trace = {
        "type": "scatter", "mode": "markers", "x": mean, "y": names, "marker": {"size": 9, "color": COLOURS[0]},
        "error_x": {
            "type": "data", "symmetric": False, "array": [each.high - each.mean for each in differences.values()],
            "arrayminus": [each.mean - each.low for each in differences.values()], "color": GREY, "thickness": 1.6,
        },
        "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>", "showlegend": False,
    }  # fmt: skip
    zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": INK}}
    upwards = {"autorange": "reversed", "type": "category"}
    return [trace], layout(f"difference to {plain(other)} (%)", "", yaxis=upwards, shapes=[zero])


def _errors(scores: Mapping[str, Sequence[Score]], config: BenchmarkConfig, units: Mapping[str, str]) -> Choice | None:
    """Errors against the number of labels, a line for each of the few methods that the study is about."""
    options = {}
    for method, found in scores.items():
        arms = list(dict.fromkeys(score.arm for score in found))
        arms = [arm for arm in config.headline or arms if arm in arms][: 2 * FEW]
        for encoder, task in dict.fromkeys((score.encoder, score.task) for score in found):
            done = [score for score in found if (score.encoder, score.task) == (encoder, task)]
            labels = sorted({s.n_labels for s in done}, key=lambda n: (isinstance(n, str), n))
            traces = [_line(done, arm, labels, COLOURS[i]) for i, arm in enumerate(arms)]
            unit = f" ({plain(units[task])})" if units[task] else ""
            look = layout("labels", f"{config.part} MAE{unit}", xaxis={"type": "category"}, showlegend=True)
            if kept := [trace for trace in traces if trace["x"]]:
                options[f"{task}, {encoder}, {method}"] = kept, look
    return Choice("", "Task", options, "Choose a task above the figure.", height=380, wide=True) if options else None


def _line(scores: Sequence[Score], arm: str, labels: Sequence[int | str], colour: str) -> Trace:
    """Mean errors of a method by number of labels, with standard deviations."""
    found = {n: [score.mae for score in scores if (score.arm, score.n_labels) == (arm, n)] for n in labels}
    found = {n: errors for n, errors in found.items() if errors}
    spread = {"type": "data", "array": [float(np.std(errors)) for errors in found.values()], "thickness": 1}
    return {
        "type": "scatter", "mode": "lines+markers", "name": plain(arm), "x": [str(n) for n in found],
        "y": [float(np.mean(errors)) for errors in found.values()], "error_y": spread, "line": {"color": colour},
    }  # fmt: skip
