"""How good predictions are: against labels, by element, crystal by crystal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Element

from .blocks import BLUE, GREY, INK, ORANGE, SCALE, SKY, VERMILLION, Figure, Table, Trace, layout, plain

PARTS = {"train": ("training", GREY), "val": ("validation", ORANGE), "test": ("test", BLUE),
         "out of fold": ("out of fold", BLUE)}  # fmt: skip
"""What crystals were used for, in words, and its colour; the later ones are drawn over the earlier ones."""
_POINTS = 1500
"""Points of a part at most: more cannot be told apart."""
_WORST = 10


def has_predictions(crystals: pd.DataFrame | None) -> bool:
    """Whether there is anything to draw."""
    return crystals is not None and {"label", "prediction"} <= set(crystals) and crystals["prediction"].notna().any()


def held_out(crystals: pd.DataFrame) -> pd.DataFrame:
    """The crystals that were not trained on: the test's, else the validation's, else all."""
    for part in ("out of fold", "test", "val"):
        if (crystals["part"] == part).any():
            return crystals[crystals["part"] == part]
    return crystals


def parity(crystals: pd.DataFrame, unit: str) -> Figure:
    """Predictions against labels, with intervals where there are some."""
    traces: list[Trace] = []
    for part, (name, colour) in PARTS.items():
        rows = crystals[(crystals["part"] == part) & crystals["prediction"].notna()]
        if not rows.empty:
            traces += _points(rows, name, colour, unit)
    ends = _ends(crystals)
    diagonal = {"color": INK, "width": 1}
    traces.append({"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": diagonal, "hoverinfo": "skip",
                   "showlegend": False})  # fmt: skip
    of = f" ({plain(unit)})" if unit else ""
    look = layout(f"label{of}", f"prediction{of}", xaxis={"range": ends}, yaxis={"range": ends})
    text = "On the line, a prediction equals the label."
    if "lower" in crystals:
        text += " Bars are prediction intervals. Orange crystals have their label outside of their interval."
    return Figure("Predictions against labels", traces, look, text, height=420, square=True)


def _points(rows: pd.DataFrame, name: str, colour: str, unit: str) -> list[Trace]:
    mae = (rows["prediction"] - rows["label"]).abs().mean()
    called = f"{name}, MAE {mae:.3g}"
    if len(rows) > _POINTS:
        rows = rows.sample(_POINTS, random_state=0)
    if "lower" not in rows:
        return [_scatter(rows, called, colour, unit)]
    inside = (rows["label"] >= rows["lower"]) & (rows["label"] <= rows["upper"])
    return [
        _scatter(some, says, shade, unit)
        for some, says, shade in (
            (rows[inside], called, colour),
            (rows[~inside], "outside of its interval", VERMILLION),
        )
        if not some.empty
    ]


def _scatter(rows: pd.DataFrame, name: str, colour: str, unit: str) -> Trace:
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": plain(name), "x": _short(rows["label"]),
        "y": _short(rows["prediction"]), "marker": {"size": 6, "color": colour, "opacity": 0.7},
        "text": [_hover(row, unit) for row in rows.to_dict("records")], "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    if "lower" in rows:
        up, down = rows["upper"] - rows["prediction"], rows["prediction"] - rows["lower"]
        trace["error_y"] = {"type": "data", "symmetric": False, "array": _short(up), "arrayminus": _short(down),
                            "thickness": 0.8, "width": 0, "color": SKY if colour == BLUE else colour}  # fmt: skip
    return trace


def _hover(row: dict[str, Any], unit: str) -> str:
    says = f"<b>{plain(row['formula'])}</b><br>{plain(row['id'])}<br>label {row['label']:.4g} {plain(unit)}<br>"
    says += f"prediction {row['prediction']:.4g}"
    return f"{says} [{row['lower']:.4g}, {row['upper']:.4g}]" if "lower" in row else says


def _ends(crystals: pd.DataFrame) -> list[float]:
    values = crystals[["label", "prediction"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.04 * (high - low) or 1.0
    return [low - margin, high + margin]


def by_element(crystals: pd.DataFrame, unit: str) -> Figure:
    """The error of crystals with each element, on a periodic table."""
    rows = held_out(crystals)
    errors: dict[str, list[float]] = {}
    for symbols, error in zip(rows["elements"], (rows["prediction"] - rows["label"]).abs(), strict=True):
        for symbol in symbols.split():
            errors.setdefault(symbol, []).append(float(error))
    means = {symbol: float(np.mean(found)) for symbol, found in errors.items()}
    says = {
        symbol: f"<b>{symbol}</b><br>{len(found)} crystal{'s' if len(found) > 1 else ''}<br>"
        f"mean absolute error {means[symbol]:.3g} {plain(unit)}"
        for symbol, found in errors.items()
    }  # fmt: skip
    which = "were trained on" if (rows["part"] == "train").all() else "were not trained on"
    text = (
        f"Mean absolute error of the crystals that hold an element and {which}. Pale elements are in none of them. An "
        "element with few crystals can be good or bad by chance: touch it to see their number."
    )
    of = f" ({plain(unit)})" if unit else ""
    return Figure("Error by element", *periodic_table(means, says, f"MAE{of}"), text, height=360, wide=True)


def periodic_table(values: dict[str, float], says: dict[str, str], title: str) -> tuple[list[Trace], dict[str, Any]]:
    """A number for each element, in colours.

    The package pymatviz draws one, too. It brings widgets for Jupyter along, which a page without network cannot use.

    Args:
        values: The numbers by symbol.
        says: What is shown when an element is touched.
        title: Of the colours.
    """
    x, y, symbols, colours, text = [], [], [], [], []
    for z in range(1, 104):
        element = Element.from_Z(z)
        row, column = _place(element)
        x.append(column)
        y.append(row)
        symbols.append(element.symbol)
        colours.append(values.get(element.symbol))
        text.append(says.get(element.symbol, f"{element.symbol}: none"))
    known = [value for value in values.values() if np.isfinite(value)]
    low, high = (float(v) for v in np.quantile(known, [0.02, 0.98])) if known else (0.0, 1.0)
    bar = {"title": {"text": title, "side": "top"}, "orientation": "h", "x": 0.42, "xanchor": "center", "y": 0.84,
           "yanchor": "bottom", "len": 0.38, "thickness": 10, "ticks": "outside", "nticks": 4}  # fmt: skip
    grid: list[list[float | None]] = [[None] * 18 for _ in range(10)]
    hover = [[""] * 18 for _ in range(10)]
    for column, row, value, tells in zip(x, y, colours, text, strict=True):
        grid[row][column], hover[row][column] = value, tells
    traces: list[Trace] = [
        {"type": "heatmap", "z": grid, "text": hover, "hovertemplate": "%{text}<extra></extra>", "colorscale": SCALE,
         "zmin": low, "zmax": high if high > low else low + 1e-9, "xgap": 2, "ygap": 2, "colorbar": bar,
         "hoverongaps": False},
        *_symbols(x, y, symbols, colours, low, high),
    ]  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    look = layout(
        xaxis={**hidden, "range": [-0.5, 17.5]}, yaxis={**hidden, "range": [9.5, -0.5]},
        margin={"l": 4, "r": 4, "t": 6, "b": 4}, showlegend=False,
    )  # fmt: skip
    return traces, look


def _symbols(
    x: list[int], y: list[int], symbols: list[str], colours: list[float | None], low: float, high: float
) -> list[Trace]:
    """The symbols: pale without a number, and light or dark, as the colour below them asks."""
    middle = low + 0.5 * (high - low)
    groups: dict[str, list[int]] = {"#B6BEC6": [], "white": [], INK: []}
    for i, value in enumerate(colours):
        groups["#B6BEC6" if value is None else "white" if value < middle else INK].append(i)
    return [
        {"type": "scatter", "mode": "text", "x": [x[i] for i in rows], "y": [y[i] for i in rows],
         "text": [symbols[i] for i in rows], "textfont": {"color": colour, "size": 12}, "hoverinfo": "skip"}
        for colour, rows in groups.items()
        if rows
    ]  # fmt: skip


def _place(element: Element) -> tuple[int, int]:
    """Row and column; lanthanides and actinides stand below the others."""
    if element.is_lanthanoid:
        return 8, element.Z - 57 + 2
    if element.is_actinoid:
        return 9, element.Z - 89 + 2
    return element.row - 1, element.group - 1


def worst(crystals: pd.DataFrame, unit: str) -> Table:
    """The crystals with the largest errors: often the labels are wrong."""
    rows = held_out(crystals)
    rows = rows.assign(error=rows["prediction"] - rows["label"])
    rows = rows.iloc[np.argsort(-rows["error"].abs().to_numpy(), kind="stable")[:_WORST]]
    of = f" ({unit})" if unit else ""
    cells = [
        (row["formula"], row["id"], f"{row['label']:.4g}", f"{row['prediction']:.4g}", f"{row['error']:+.3g}")
        for row in rows.to_dict("records")
    ]
    text = "Look at these first. A large error may be a hard crystal, or a label that is wrong."
    return Table("Largest errors", ("formula", "crystal", f"label{of}", "prediction", "error"), cells, text)


def _short(values: pd.Series) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
