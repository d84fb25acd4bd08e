"""How training went: losses and other measures by epoch."""

from __future__ import annotations

import pandas as pd

from .blocks import BLUE, VERMILLION, Block, Choice, Figure, Section, Trace, layout, line
from .runs import Run

_NOT_MEASURES = {"step", "epoch", "seconds", "structures_per_second", "waiting", "lr"}


def training(run: Run) -> Section | None:
    """Losses of the whole and of each pretext, and the other measures; None before the first epoch's end."""
    epochs = run.epochs
    if epochs.empty:
        return None
    names = measures(epochs)
    losses = [name for name in names if name == "loss" or name.endswith("/loss")]
    if len(losses) == 2:  # one pretext: its loss is the whole
        losses = losses[:1]
    watched = any(name.startswith("val_") for name in epochs)
    whole = "Loss" if len(losses) == 1 else "Loss, all together"
    blocks: list[Block] = [
        Figure(
            whole if name == "loss" else f"Loss of {name.removesuffix('/loss')}", *_figure(epochs, name), height=260,
            caption=_CAPTION if watched and i == 0 else "",
        )
        for i, name in enumerate(losses)
    ]  # fmt: skip
    others = [name for name in names if name not in losses and not name.endswith(("_loss", "/loss"))]
    if len(others) == 1:
        blocks.append(Figure(f"Measure: {spoken(others[0])}", *_figure(epochs, others[0]), height=260))
    elif others:
        options = {spoken(name): _figure(epochs, name) for name in others}
        text = "Other numbers that were logged at the end of each epoch. Choose one above the figure."
        blocks.append(Choice("Other measures", "Measure", options, text, height=260, wide=len(losses) % 2 == 0))
    return Section("Training", _found(epochs), blocks)


_CAPTION = (
    "Held-out crystals were not trained on. Where their loss rises while the other falls, the network overfits: it "
    "remembers its training crystals."
)


def measures(epochs: pd.DataFrame) -> list[str]:
    """What was measured in training, on held-out crystals, or both."""
    names = [name for name in epochs.columns if name not in _NOT_MEASURES and not name.startswith("collapse_")]
    found = [name.split("_", 1)[1] for name in names if name.startswith(("train_", "val_"))]
    return list(dict.fromkeys(found))


def spoken(name: str) -> str:
    """A measure's name in words."""
    return name.replace("/", ": ").replace("_", " ")


def pair(epochs: pd.DataFrame, name: str) -> list[Trace]:
    """A measure in training and on held-out crystals."""
    parts = (("train", "training", BLUE), ("val", "held out", VERMILLION))
    traces = []
    for part, title, colour in parts:
        if f"{part}_{name}" in epochs:
            known = epochs[["epoch", f"{part}_{name}"]].dropna()
            traces.append(line(known["epoch"].tolist(), known[f"{part}_{name}"].tolist(), title, colour))
    return traces


def logarithmic(traces: list[Trace]) -> bool:
    """Whether numbers spread over so much that only a logarithmic axis shows them."""
    values = [value for trace in traces for value in trace["y"]]
    return min(values, default=0) > 0 and max(values) > 20 * min(values)


def _figure(epochs: pd.DataFrame, name: str) -> tuple[list[Trace], dict[str, object]]:
    traces = pair(epochs, name)
    kind = "log" if logarithmic(traces) else "linear"
    few = {"dtick": 1} if len(epochs) <= 12 else {}
    return traces, layout("epoch", "", xaxis=few, yaxis={"type": kind}, hovermode="x unified")


def _found(epochs: pd.DataFrame) -> str:
    n = len(epochs)
    if "val_loss" not in epochs or epochs["val_loss"].dropna().empty:
        last = epochs["train_loss"].iloc[-1]
        return f"After {_epochs(n)} the training loss is {last:.4g}. No crystals were held out to watch."
    held_out = epochs[["epoch", "val_loss"]].dropna()
    last, best = held_out["val_loss"].iloc[-1], held_out["val_loss"].min()
    when = int(held_out["epoch"][held_out["val_loss"].idxmin()])
    text = f"After {_epochs(n)} the loss of held-out crystals is {last:.4g}."
    if when == held_out["epoch"].iloc[-1]:
        return f"{text} It was never lower."
    worse = last > best + 0.02 * abs(best)
    return f"{text} It was lowest in epoch {when}, with {best:.4g}." + (_OVERFITTED if worse else "")


_OVERFITTED = " Fewer epochs, more crystals or a smaller learning rate may be better."


def _epochs(n: int) -> str:
    return "1 epoch" if n == 1 else f"{n} epochs"
