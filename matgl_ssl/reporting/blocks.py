"""What a page is made of: figures as plotly.js takes them, tables, bars; with one look."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY, INK, YELLOW = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222B33", "#F0E442",
)  # fmt: skip
COLOURS = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY, INK, YELLOW, "#8A6BBE", "#999999")
"""Okabe and Ito's, which colour-blind readers tell apart (jfly.uni-koeln.de/color), and two for what is over."""
GREY, PALE = "#8A949E", "#E3E7EB"
SCALE = "Cividis"
"""For numbers: even in lightness, and made for colour-blind readers (Nunez et al., PLoS ONE 13, e0199239)."""
_LONGEST = 60

Trace = dict[str, Any]


def plain(text: object) -> str:
    """Text for a figure: plotly.js takes some HTML there, and names of crystals and files are none."""
    shown = str(text)
    return html.escape(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…", quote=False)


def layout(x: str = "", y: str = "", *, xaxis: Mapping[str, Any] | None = None, yaxis: Mapping[str, Any] | None = None,
           **more: Any) -> dict[str, Any]:  # fmt: skip
    """The look of a figure with these titles of its axes."""
    axis = {
        "gridcolor": PALE, "linecolor": GREY, "zeroline": False, "automargin": True, "ticks": "outside",
        "tickcolor": GREY, "ticklen": 4,
    }  # fmt: skip
    return {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "white", "plot_bgcolor": "white", "colorway": list(COLOURS), "hovermode": "closest",
        "margin": {"l": 52, "r": 14, "t": 34, "b": 44},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemsizing": "constant"},
        "xaxis": {**axis, "title": {"text": x, "font": {"size": 13}}, **(xaxis or {})},
        "yaxis": {**axis, "title": {"text": y, "font": {"size": 13}}, **(yaxis or {})},
        **more,
    }  # fmt: skip


def line(x: Sequence[float], y: Sequence[float], name: str, colour: str, **more: Any) -> Trace:
    """A line, with markers where there are few points."""
    mode = "lines+markers" if len(x) <= 40 else "lines"
    return {
        "type": "scatter", "mode": mode, "x": list(x), "y": list(y), "name": plain(name),
        "line": {"color": colour, "width": 2}, "marker": {"size": 5, "color": colour}, **more,
    }  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        title: What it shows.
        data: The traces, as plotly.js takes them.
        layout: The layout.
        caption: How to read it, in whole sentences.
        height: Pixels.
        wide: Whether it takes the page's whole width.
        square: Whether it is as high as it is wide.
    """

    kind: ClassVar[str] = "figure"
    title: str
    data: list[Trace]
    layout: dict[str, Any]
    caption: str = ""
    height: int = 320
    wide: bool = False
    square: bool = False

    @property
    def spec(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {"kind": "figure", "data": self.data, "layout": self.layout}


@dataclass(frozen=True)
class Choice:
    """Several figures of which the reader sees one.

    Attributes:
        title: What they show.
        label: What is chosen.
        options: Traces and layout of each, by name.
        caption: How to read them.
        height: Pixels.
        wide: Whether they take the page's whole width.
    """

    kind: ClassVar[str] = "choice"
    title: str
    label: str
    options: dict[str, tuple[list[Trace], dict[str, Any]]]
    caption: str = ""
    height: int = 320
    wide: bool = False
    square: ClassVar[bool] = False

    @property
    def spec(self) -> dict[str, Any]:
        """What the page's script draws."""
        options = [{"name": name, "data": data, "layout": look} for name, (data, look) in self.options.items()]
        return {"kind": "choice", "label": self.label, "options": options}


@dataclass(frozen=True)
class Map:
    """Crystals as points, coloured by what the reader chooses.

    Attributes:
        title: What it shows.
        points: What the page's script draws: ``places``, ``colourings`` and ``text`` (see ``embedding``).
        caption: How to read it.
    """

    kind: ClassVar[str] = "map"
    title: str
    points: dict[str, Any]
    caption: str = ""
    height: int = 460
    wide: bool = True
    square: ClassVar[bool] = False

    @property
    def spec(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {"kind": "map", **self.points, "colours": list(COLOURS), "scale": SCALE, "layout": layout()}


@dataclass(frozen=True)
class Table:
    """A table; long ones are folded away."""

    kind: ClassVar[str] = "table"
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    folded: bool = False
    wide: bool = True


@dataclass(frozen=True)
class Bars:
    """Lengths with a name, a number and a remark each, drawn without plotly.js: names may be long.

    Attributes:
        title: What they show.
        rows: Name, length, the number as text, remark.
        caption: How to read them.
    """

    kind: ClassVar[str] = "bars"
    title: str
    rows: Sequence[tuple[str, float, str, str]]
    caption: str = ""
    wide: bool = False

    @property
    def longest(self) -> float:
        """The length that takes the whole width."""
        return max((length for _, length, _, _ in self.rows), default=0.0) or 1.0


Block = Figure | Choice | Map | Table | Bars


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, what was found, in words, and its blocks."""

    title: str
    text: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Tile:
    """A number that a reader should see first."""

    value: str
    name: str
    remark: str = ""
