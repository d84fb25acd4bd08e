"""What a fit found of each target: learners, predictions, intervals, and what more labels would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from .blocks import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SCALE,
    Bars,
    Block,
    Figure,
    Section,
    Table,
    Tile,
    Trace,
    layout,
    line,
    plain,
)
from .embedding import embedding
from .errors import by_element, has_predictions, parity, worst
from .runs import Run

_BINS = 5
_MEASURES = {"mae": "mean absolute error", "mse": "mean squared error", "log": "log loss"}


def fitted(run: Run) -> list[Section]:
    """The sections of all targets."""
    sections = []
    for target in run.targets:
        several = f"{target['name']}: " if len(run.targets) > 1 else ""
        crystals = None if run.crystals is None else run.crystals[run.crystals["target"] == target["name"]]
        unit = unit_of(target)
        blocks: list[Block] = [_learners(target)]
        if crystals is not None and has_predictions(crystals):
            if target["classes"]:
                blocks.append(_confusion(crystals, target["classes"]))
            else:
                blocks = [parity(crystals, unit), *blocks, by_element(crystals, unit), worst(crystals, unit)]
        sections.append(Section(_title(several, "how good are the predictions?"), _found(target), blocks))
        sections += [
            each for each in (_sure(target, crystals, several), _more(target, several), _why(target, several)) if each
        ]
        space = target["space"]
        vectors = "descriptors and textbook estimates" if space == "descriptors" else f"vectors of the encoder {space}"
        if found := embedding(crystals, vectors, unit):
            sections.append(Section(_title(several, "map of the crystals"), found.text, found.blocks))
    return sections


def _title(several: str, question: str) -> str:
    """A section's title; with several targets it begins with the target's name."""
    return several + question if several else question[0].upper() + question[1:]


def unit_of(target: Mapping[str, Any]) -> str:
    """The unit of a target's numbers, as they are learned."""
    per_atom = " per atom" if target["per_atom"] else ""
    return f"{target['unit']}{per_atom}" if target["unit"] else ""


def tiles(run: Run) -> list[Tile]:
    """Of the first target: error, what a constant has, coverage, labels."""
    if not run.targets:
        return []
    target = run.targets[0]
    unit = f" {unit_of(target)}" if unit_of(target) and target["loss"] == "mae" else ""
    constant = target["members"][0]["error"]
    found = [Tile(f"{target['error']:.3g}{unit}", f"{_MEASURES[target['loss']]}, out of fold"),
             Tile(f"{constant:.3g}{unit}", "without a look at the crystal"),
             Tile(f"{len(target['labels']):,}", "labels")]  # fmt: skip
    if target["calibration"]:
        covered = target["calibration"]["coverage"]
        asked = f"{target['confidence']:.0%} were asked for"
        found.append(Tile(f"{covered:.0%}", "of labels lie in their interval", asked))
    return found


def _found(target: Mapping[str, Any]) -> str:
    unit = f" {unit_of(target)}" if unit_of(target) and target["loss"] == "mae" else ""
    constant = target["members"][0]["error"]
    text = f"The {_MEASURES[target['loss']]} out of fold is {target['error']:.4g}{unit}. "
    if target["error"] >= constant:
        return text + "A constant predicts as well: more labels may help."
    return (
        f"{text}That is {1 - target['error'] / constant:.0%} less than a constant has. Each crystal was predicted by "
        "models that had seen neither its label nor that of any other crystal of its formula."
    )


def _learners(target: Mapping[str, Any]) -> Bars:
    rows = [("all together", target["error"], f"{target['error']:.4g}", "")]
    for member in sorted(target["members"], key=lambda member: float(member["error"])):
        weight = f"weight {member['weight']:.2f}" if member["weight"] >= 0.005 else ""
        rows.append((member["name"], member["error"], f"{member['error']:.4g}", weight))
    text = f"{_MEASURES[target['loss']].capitalize()} of each learner, out of fold. Shorter is better."
    return Bars("What was tried", rows, text)


def _sure(target: Mapping[str, Any], crystals: pd.DataFrame | None, several: str) -> Section | None:
    """Whether intervals cover what they promise, and are wide where errors are large."""
    known = target.get("reliability")
    if not known:
        return None
    asked, covered = [100 * a for a, _ in known], [100 * c for _, c in known]
    traces: list[Trace] = [
        {"type": "scatter", "mode": "lines", "x": [0, 100], "y": [0, 100], "line": {"color": GREY, "dash": "dot"},
         "name": "as promised", "hoverinfo": "skip"},
        line(asked, covered, "found", BLUE),
    ]  # fmt: skip
    look = layout("asked for (%)", "in their interval (%)", xaxis={"range": [0, 102]}, yaxis={"range": [0, 102]})
    caption = (
        "Intervals were made for several shares of crystals. On the dotted line, as many labels lie in their interval "
        "as was asked for. Below it, intervals are too narrow."
    )
    share = target["calibration"]["coverage"]
    text = (
        f"Of the intervals that should cover {target['confidence']:.0%} of crystals, {share:.0%} do, out of fold. This "
        "holds for crystals like the labelled ones."
    )
    figure = Figure("Calibration of the intervals", traces, look, caption, height=360, square=True)
    blocks: list[Block] = [figure]
    if crystals is not None and "lower" in crystals and len(crystals) >= 5 * _BINS:
        blocks.append(_widths(crystals, unit_of(target)))
    return Section(_title(several, "can the intervals be trusted?"), text, blocks)


def _widths(crystals: pd.DataFrame, unit: str) -> Figure:
    """Errors of crystals with narrow and with wide intervals."""
    half = (crystals["upper"] - crystals["lower"]) / 2
    error = (crystals["prediction"] - crystals["label"]).abs()
    bins = pd.qcut(half.rank(method="first"), _BINS, labels=False)
    x, y = half.groupby(bins).mean().tolist(), error.groupby(bins).mean().tolist()
    of = f" ({plain(unit)})" if unit else ""
    look = layout(f"half of the interval{of}", f"mean absolute error{of}", yaxis={"rangemode": "tozero"})
    caption = (
        f"Crystals in {_BINS} groups of equal size, by the width of their interval. Where the line rises, wide "
        "intervals mark the crystals that are predicted badly."
    )
    return Figure("Do wide intervals mean large errors?", [line(x, y, "error", BLUE)], look, caption, height=360)


def _more(target: Mapping[str, Any], several: str) -> Section | None:
    """Errors with fewer and with more labels."""
    curve = pd.DataFrame(target.get("curve") or [])
    if curve.empty:
        return None
    unit = f" ({plain(unit_of(target))})" if unit_of(target) and target["loss"] == "mae" else ""
    measured, later = curve[curve["measured"]], curve[~curve["measured"].astype(bool)]
    traces = [_with_bars(measured, "measured", BLUE, "solid"),
              _with_bars(pd.concat([measured.tail(1), later]), "extrapolated", ORANGE, "dot")]  # fmt: skip
    ticks = sorted({int(n) for n in curve["n_labels"]})
    look = layout(
        "labels", f"{_MEASURES[target['loss']]}{unit}",
        xaxis={"type": "log", "tickvals": ticks, "ticktext": [f"{n:,}" for n in ticks]},
        yaxis={"type": "log", "nticks": 6, "minor": {"showgrid": False}},
    )  # fmt: skip
    caption = (
        "A quick learner was fitted to fewer labels, and a power law to its errors. Bars are 90 % intervals, by "
        "resampling formulas. What lies beyond your labels is extrapolated, and is no promise."
    )
    head = ("labels", "error", "90 % interval", "")
    rows = [
        (f"{int(n):,}", f"{e:.4g}", f"{lo:.4g} to {hi:.4g}", "measured" if m else "extrapolated")
        for n, e, lo, hi, m in curve[["n_labels", "error", "low", "high", "measured"]].itertuples(index=False)
    ]
    blocks: list[Block] = [Figure("Learning curve", traces, look, caption, height=360),
                           Table("Learning curve in numbers", head, rows, wide=False)]  # fmt: skip
    return Section(_title(several, "how many labels do I need?"), _needed(target, later), blocks)


def _with_bars(rows: pd.DataFrame, name: str, colour: str, dash: str) -> Trace:
    up, down = rows["high"] - rows["error"], rows["error"] - rows["low"]
    bars = {"type": "data", "symmetric": False, "array": up.tolist(), "arrayminus": down.tolist(), "width": 4,
            "thickness": 1.5, "color": colour}  # fmt: skip
    trace = line(rows["n_labels"].tolist(), rows["error"].tolist(), name, colour, error_y=bars)
    return {**trace, "line": {"color": colour, "width": 2, "dash": dash}, "marker": {"size": 8, "color": colour}}


def _needed(target: Mapping[str, Any], later: pd.DataFrame) -> str:
    """How many labels would halve the error, by the power law."""
    if len(later) < 2:
        return ""
    (n1, e1), (n2, e2) = later[["n_labels", "error"]].iloc[[0, -1]].to_numpy().tolist()
    power = math.log(e1 / e2) / math.log(n2 / n1) if e2 < e1 else 0.0
    unit = f" {unit_of(target)}" if unit_of(target) and target["loss"] == "mae" else ""
    twice = f"With twice as many labels the error would be about {e1:.3g}{unit}."
    if power < 0.05:
        return f"{twice} More labels hardly help these learners: other descriptors or an encoder may."
    needed = (len(target["labels"]) * 2 ** (1 / power)) if power else math.inf
    return f"{twice} Halving today's error would take about {float(f'{needed:.2g}'):,.0f} labels in all."


def _why(target: Mapping[str, Any], several: str) -> Section | None:
    """What predictions come from."""
    parts = target.get("parts") or {}
    if not parts:
        return None
    unit = unit_of(target)
    rows = [(name, size, f"{size:.3g}{f' {unit}' if unit else ''}", "") for name, size in parts.items()]
    caption = (
        "By how much each quantity moves the predictions of the learners on descriptors, on average over labelled "
        "crystals (Shapley values). The command mgl-ssl explain says it of single crystals."
    )
    first = next(iter(parts))
    text = f"Predictions owe most to {first}." if len(parts) > 1 else ""
    return Section(_title(several, "what do predictions come from?"), text, [Bars("", rows, caption, wide=True)])


def _confusion(crystals: pd.DataFrame, classes: list[str]) -> Figure:
    counts = pd.crosstab(crystals["label"].astype(int), crystals["prediction"].astype(int))
    grid = [[int(counts.get(p, {}).get(t, 0)) for p in range(len(classes))] for t in range(len(classes))]
    names = [plain(name) for name in classes]
    traces: list[Trace] = [
        {"type": "heatmap", "x": names, "y": names, "z": grid, "text": grid, "texttemplate": "%{text}",
         "colorscale": SCALE, "showscale": False, "xgap": 2, "ygap": 2,
         "hovertemplate": "class %{y}, predicted %{x}: %{z}<extra></extra>"}
    ]  # fmt: skip
    look = layout("predicted class", "class", xaxis={"type": "category"},
                  yaxis={"type": "category", "autorange": "reversed"}, font={"color": INK, "size": 13})  # fmt: skip
    caption = "Crystals by their class and the class of highest probability, out of fold. On the diagonal both agree."
    return Figure("Classes", traces, look, caption, height=380, square=True)
