"""Several runs beside each other: losses, errors, predictions, and which options differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .blocks import COLOURS, INK, Bars, Block, Choice, Figure, Section, Table, Trace, layout, line, plain
from .errors import has_predictions, held_out
from .finetuned import shown_scores
from .fitted import unit_of
from .losses import logarithmic, measures, spoken
from .record import as_text
from .runs import Run

_POINTS = 500
"""Points of a run at most, in the figure that has those of all."""


def names_of(runs: Sequence[Run]) -> list[str]:
    """A name for each run: as much of its path as tells it from the others."""
    paths = [os.path.abspath(run.path) for run in runs]  # noqa: PTH100 - links keep the names that the user gave
    if len(set(paths)) == 1:
        return [Path(path).name for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    return [os.path.relpath(path, shared) for path in paths]


def compared(runs: Sequence[Run]) -> list[Section]:
    """The sections of the page."""
    names = names_of(runs)
    found = [_training(runs, names), _errors(runs, names), _parity(runs, names), _differences(runs, names)]
    return [section for section in found if section]


def overview(runs: Sequence[Run]) -> Table:
    """A line a run."""
    rows = [
        (name, run.what, str(run.config.get("model") or run.config.get("init_from") or ""),
         str(run.config.get("recipe") or ", ".join(_targets(run))), "finished" if run.finished else "not finished")
        for name, run in zip(names_of(runs), runs, strict=True)
    ]  # fmt: skip
    return Table("", ("run", "what", "model", "recipe or target", "state"), rows)


def _targets(run: Run) -> list[str]:
    target = run.config.get("target") or []
    return [target] if isinstance(target, str) else list(target)


def _training(runs: Sequence[Run], names: Sequence[str]) -> Section | None:
    """A measure of all runs, which the reader chooses."""
    columns = dict.fromkeys(
        f"{part}_{name}" for part in ("val", "train") for run in runs for name in measures(run.epochs)
    )
    options = {}
    for column in columns:
        traces: list[Trace] = []
        for i, (run, name) in enumerate(zip(runs, names, strict=True)):
            if column in run.epochs:
                known = run.epochs[["epoch", column]].dropna()
                traces.append(line(known["epoch"].tolist(), known[column].tolist(), name, COLOURS[i % len(COLOURS)]))
        if traces:
            part, _, name = column.partition("_")
            look = layout("epoch", "", yaxis={"type": "log" if logarithmic(traces) else "linear"}, showlegend=True)
            options[f"{spoken(name)}, {'held out' if part == 'val' else 'training'}"] = (traces, look)
    if not options:
        return None
    text = "Losses of different recipes or targets measure different things: compare runs that ask the same."
    caption = "Choose a measure above the figure."
    return Section("Training", text, [Choice("", "Measure", options, caption, height=380, wide=True)])


def _errors(runs: Sequence[Run], names: Sequence[str]) -> Section | None:
    """Errors by target and unit, each a set of bars."""
    found: dict[tuple[str, str], list[tuple[str, float, str, str]]] = {}
    for run, name in zip(runs, names, strict=True):
        if run.what == "fine-tuning" and run.scores:
            part, scores = shown_scores(run)
            row = (name, scores["mae"], f"{scores['mae']:.4g}", f"{scores['n']:,} crystals, {part}")
            found.setdefault((run.config["target"], _mae(run.unit)), []).append(row)
        for target in run.targets:
            kind = {"mae": _mae(unit_of(target)), "mse": "mean squared error"}
            row = (name, target["error"], f"{target['error']:.4g}", f"{len(target['labels']):,} crystals, out of fold")
            found.setdefault((target["name"], kind.get(target["loss"], "log loss")), []).append(row)
    blocks: list[Block] = [
        Bars(f"{target}: {measure}", sorted(rows, key=lambda row: row[1])) for (target, measure), rows in found.items()
    ]
    text = "Shorter is better. Errors compare only where the test crystals are the same: see the fingerprints below."
    return Section("Errors", text, blocks) if blocks else None


def _mae(unit: str) -> str:
    return f"mean absolute error ({unit})" if unit else "mean absolute error"


def _parity(runs: Sequence[Run], names: Sequence[str]) -> Section | None:
    """Predictions against labels, one figure a target."""
    figures = {}
    for target in dict.fromkeys(name for run in runs for name in _targets(run)):
        traces: list[Trace] = []
        for i, (run, name) in enumerate(zip(runs, names, strict=True)):
            rows = _predictions(run, target)
            if rows is not None:
                rows = rows.sample(_POINTS, random_state=0) if len(rows) > _POINTS else rows
                marker = {"size": 6, "color": COLOURS[i % len(COLOURS)], "opacity": 0.6}
                traces.append(
                    {"type": "scatter", "mode": "markers", "name": plain(name), "marker": marker,
                     "x": [float(f"{v:.5g}") for v in rows["label"]],
                     "y": [float(f"{v:.5g}") for v in rows["prediction"]],
                     "text": [f"{plain(f)}<br>{plain(i)}" for f, i in zip(rows["formula"], rows["id"], strict=True)],
                     "hovertemplate": "%{text}<br>label %{x}, prediction %{y}<extra></extra>"}
                )  # fmt: skip
        if traces:
            values = [v for trace in traces for v in (*trace["x"], *trace["y"])]
            ends = [min(values), max(values)]
            diagonal = {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": INK, "width": 1},
                        "hoverinfo": "skip", "showlegend": False}  # fmt: skip
            figures[target] = [*traces, diagonal], layout("label", "prediction", showlegend=True)
    if not figures:
        return None
    caption = "Crystals that were not trained on. Touch a name above the figure to hide or show a run."
    blocks: list[Block] = [
        Figure(target, traces, look, caption, height=420, square=True) for target, (traces, look) in figures.items()
    ]
    return Section("Predictions against labels", "", blocks)


def _predictions(run: Run, target: str) -> pd.DataFrame | None:
    crystals = run.crystals
    if target not in _targets(run) or not has_predictions(crystals) or crystals is None:
        return None
    if run.what == "fit" and any(each["name"] == target and each["classes"] for each in run.targets):
        return None
    return held_out(crystals[crystals["target"] == target])


def _differences(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Options that are not the same everywhere, and fingerprints of the data; runs of one kind side by side."""
    blocks: list[Block] = []
    for what in dict.fromkeys(run.what for run in runs):
        same = [i for i, run in enumerate(runs) if run.what == what]
        called = [names[i] for i in same]
        kind = what.capitalize()
        if len(same) > 1:
            facts = [{name: value[:12] for name, value in runs[i].facts.items()} for i in same]
            blocks.append(_differing(f"{kind}: options", "option", [runs[i].options for i in same], called))
            blocks.append(_differing(f"{kind}: data", "fingerprint of", facts, called))
    blocks.append(_differing("Packages", "package", [run.environment for run in runs], names))
    return Section("What differs?", "What all runs share is left out.", blocks)


def _differing(title: str, what: str, records: Sequence[Mapping[str, object]], names: Sequence[str]) -> Table:
    keys = dict.fromkeys(key for record in records for key in record)
    texts = {key: [as_text(record.get(key)) for record in records] for key in keys}
    rows = [(key, *values) for key, values in texts.items() if len(set(values)) > 1]
    return Table(title, (what, *names), rows, "" if rows else "Nothing differs.")
