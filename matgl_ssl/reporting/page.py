"""Sections to one HTML file that needs nothing else: neither network nor folder."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from matgl_ssl._version import __version__

from .blocks import Section, Tile


def page(title: str, subtitle: str, tiles: Sequence[Tile], sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: What it is about.
        subtitle: The run's directory, for example.
        tiles: Numbers that a reader should see first.
        sections: The rest, in this order.
    """
    return _environment().get_template("page.html").render(
        title=title, subtitle=subtitle, tiles=tiles, sections=sections, version=__version__, plotly=_plotly(),
        style=_own("page.css"), script=_own("page.js"),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Every text is escaped, whatever it comes from."""
    made = Environment(
        loader=PackageLoader("matgl_ssl.reporting", "page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["spec"] = as_script
    return made


def as_script(content: Any) -> Markup:
    """Content as JSON that can stand in a script element, whatever text is in it."""
    text = json.dumps(_finite(content), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing is left in it that HTML could take for its own


def _finite(content: Any) -> Any:
    """JSON has no NaN: plotly.js leaves a gap where nothing is."""
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@lru_cache(maxsize=1)
def _plotly() -> Markup:
    """plotly.js, which the page's script unpacks: 2 MB instead of 5; the library has no smaller one."""
    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return Markup(base64.b64encode(packed).decode())  # noqa: S704 - letters, digits, +, / and =


def _own(name: str) -> Markup:
    return Markup((files("matgl_ssl.reporting") / "page" / name).read_text(encoding="utf-8"))  # noqa: S704 - ours
