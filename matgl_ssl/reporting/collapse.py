"""Whether different crystals still get different vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .blocks import BLUE, INK, VERMILLION, Block, Figure, Section, Trace, layout, line
from .runs import Run

LIMITS = {"collapse_std": 0.01, "collapse_rank": 2.0, "collapse_structure": 0.02}
"""What ``training.collapse.CollapseMonitor`` warns below."""
_WHAT = {
    "collapse_std": (
        "Spread of the vectors",
        "Standard deviation over held-out crystals, relative to the vectors' length. Near zero, all look alike.",
    ),
    "collapse_rank": (
        "Effective rank",
        "In how many directions the vectors differ. Below the dotted line the encoder sees hardly any difference.",
    ),
    "collapse_structure": (
        "Response to compression",
        "How far vectors move when crystals are compressed by 5 %. Near zero, the encoder sees only the composition.",
    ),
}


def collapse(run: Run) -> Section | None:
    """What the monitor measured in each epoch, and the spectrum at the end; None where nothing was measured."""
    blocks: list[Block] = [
        _watched(run.epochs, name) for name in LIMITS if name in run.epochs and not run.epochs[name].dropna().empty
    ]
    vectors = vectors_of(run.crystals)
    if len(vectors) >= 3:
        blocks.insert(0, _spectrum(vectors))
    if not blocks:
        return None
    return Section("Do the vectors differ?", _found(run.epochs, vectors), blocks)


def vectors_of(crystals: pd.DataFrame | None) -> np.ndarray:
    """The vectors that were kept, ``(n, d)``."""
    if crystals is None or not crystals["vector"].notna().any():
        return np.zeros((0, 0))
    return np.stack(crystals["vector"].dropna().to_list()).astype(float)


def spectrum(vectors: np.ndarray) -> np.ndarray:
    """Each direction's share of the singular values of centred vectors, falling; ``(min(n, d),)``."""
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    return np.asarray(values / max(values.sum(), 1e-300))


def effective_rank(shares: np.ndarray) -> float:
    """Exponential of the entropy of a spectrum (Roy and Vetterli, EUSIPCO 2007); 0 where nothing differs."""
    known = shares[shares > 0]
    return float(np.exp(-(known * np.log(known)).sum())) if known.size else 0.0


def _spectrum(vectors: np.ndarray) -> Figure:
    shares = spectrum(vectors)
    traces: list[Trace] = [
        line(list(range(1, len(shares) + 1)), np.maximum(shares, 1e-9).tolist(), "share", BLUE, showlegend=False)
    ]
    look = layout("direction", "share of the spread", yaxis={"type": "log", "exponentformat": "power", "nticks": 5})
    text = (
        "Singular values of the crystals' vectors, from the widest direction to the narrowest. A line that drops "
        "steeply after a few directions means that crystals hardly differ in the others."
    )
    return Figure("Spectrum of the vectors", traces, look, text, height=280)


def _watched(epochs: pd.DataFrame, name: str) -> Figure:
    title, text = _WHAT[name]
    known = epochs[["epoch", name]].dropna()
    x, y = known["epoch"].tolist(), known[name].tolist()
    limit = LIMITS[name]
    ends = [min(x), max(x)] if len(x) > 1 else [x[0] - 0.5, x[0] + 0.5]
    dotted = {"color": VERMILLION, "width": 1.5, "dash": "dot"}
    traces = [
        line(x, y, title, INK, showlegend=False),
        {"type": "scatter", "mode": "lines", "x": ends, "y": [limit, limit], "line": dotted, "showlegend": False,
         "hoverinfo": "skip"},
    ]  # fmt: skip
    kind = "log" if min(y) > 0 and max([*y, limit]) > 20 * min([*y, limit]) else "linear"
    few = {"dtick": 1} if len(x) <= 12 else {}
    look = layout(
        "epoch", "", xaxis=few, yaxis={"type": kind, "rangemode": "tozero", "exponentformat": "power", "nticks": 5}
    )
    return Figure(title, traces, look, text, height=240)


def _found(epochs: pd.DataFrame, vectors: np.ndarray) -> str:
    text = []
    if len(vectors) >= 3:
        rank = effective_rank(spectrum(vectors))
        text.append(
            f"The vectors of the crystals on the map differ in about {rank:.1f} of {vectors.shape[1]} directions."
        )
    low = [
        _WHAT[name][0].lower()
        for name, limit in LIMITS.items()
        if name in epochs and (last := epochs[name].dropna()).size and last.iloc[-1] < limit
    ]
    if low:
        text.append(f"At the end the {' and the '.join(low)} lay below the limit (dotted): look at the figures below.")
    elif set(LIMITS) & set(epochs.columns):
        text.append("At the end nothing lay below the limits (dotted).")
    return " ".join(text)
