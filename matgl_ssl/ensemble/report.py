"""What a fit found, in words and one table a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .combination import Combination
from .curve import Expected
from .labels import Labelled
from .learning import Learning
from .plain import PlainModel

_NAMES = {"mae": "mean absolute error", "mse": "mean squared error", "log": "log loss"}


def report(sections: Sequence[str]) -> str:
    """The whole report, Markdown."""
    head = (
        "# What was fitted\n\nErrors are out of fold: each crystal was predicted by models that had seen neither its "
        "label nor that of any other crystal of its formula.\n"
    )
    return "\n".join([head, *sections])


def section(
    learning: Learning,
    combination: Combination,
    failed: Mapping[str, str],
    unseen_factor: float,
    curve: Sequence[Expected],
    plain: PlainModel | None = None,
    parts: Mapping[str, float] | None = None,
) -> str:
    """What was found of one target."""
    labelled, config = learning.labelled, learning.config
    unit = f" {labelled.unit}" if labelled.unit and learning.loss == "mae" else ""
    best, trivial = combination.best, combination.members[0]
    constant = "The shares of the classes have" if labelled.classes else "The median of the labels has"
    together = (
        f"The combination's {_NAMES[learning.loss]} is {combination.error:.4g}{unit}. The best single learner, "
        f"{best.member.name}, has {best.error:.4g}{unit}. {constant} {trivial.error:.4g}{unit}."
    )
    lines = [f"## {labelled.name}", "", _counts(labelled, learning.n_folds), "", together, ""]
    lines += [f"| learner | {_NAMES[learning.loss]} | weight | learned | seconds |", "|---|---|---|---|---|"]
    for m, weight in zip(combination.members, combination.weights, strict=True):
        lines.append(f"| {m.member.name} | {m.error:.4g} | {weight:.2f} | {_learned(m)} | {m.seconds:.0f} |")
    lines += [f"| all together | {combination.error:.4g} | | | |", ""]
    if combination.error >= trivial.error:
        lines += ["Nothing that was tried predicts this better than a constant does. More labels may help.", ""]
    if combination.calibration is not None:
        intervals = (
            f"Intervals are made to cover {config.coverage:.0%} of crystals like the labelled ones. Out of fold they "
            f"cover {combination.calibration.coverage:.0%}."
        )
        unseen = (
            f"They are {unseen_factor:.1f} times as wide for a crystal with an element that no labelled crystal has. "
            "That ratio was found by leaving out elements in turn; it is no guarantee."
        )
        lines += [intervals, unseen, ""]
    if curve:
        lines += _curve(curve)
    if parts:
        lines += _parts(parts, labelled.unit)
    if plain is not None:
        lines += [_plain(plain, unit), ""]
    if failed:
        lines += ["Not part of it:", "", *(f"- {name}: {reason}" for name, reason in failed.items()), ""]
    return "\n".join(lines)


def _parts(parts: Mapping[str, float], unit: str) -> list[str]:
    """What predictions come from."""
    intro = (
        "What predictions of learners on descriptors come from: by how much each quantity moves them, on average over "
        "labelled crystals (Shapley values). `mgl-ssl explain` says it of single crystals."
    )
    rows = [f"| {name} | {size:.3g} |" for name, size in parts.items()]
    return [intro, "", f"| quantity | moves predictions by{f' ({unit})' if unit else ''} |", "|---|---|", *rows, ""]


def _plain(plain: PlainModel, unit: str) -> str:
    """How near the plain model is."""
    return (
        f"`{plain.path.name}` beside this report is a plain MatGL model. It learned from the labels, and from what the "
        f"combination says of {plain.n_similar:,} crystals without labels. On formulas that it was not trained "
        f"on it differs from the combination by {plain.difference:.4g}{unit} on average."
    )


def _curve(curve: Sequence[Expected]) -> list[str]:
    """What more labels would give."""
    intro = (
        "A quick learner was fitted to fewer labels, and a power law to its errors. Numbers above what there is are "
        "extrapolated. Intervals are of 90 %, by resampling formulas."
    )
    rows = [
        f"| {each.n_labels} | {each.error:.4g} | {each.low:.4g} to {each.high:.4g} | "
        f"{'measured' if each.measured else 'extrapolated'} |"
        for each in curve
    ]
    return [
        "How many labels it takes:",
        "",
        intro,
        "",
        "| labels | error | interval | |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _counts(labelled: Labelled, n_folds: int) -> str:
    n_formulas = len(set(labelled.groups.tolist()))
    said = f"{len(labelled)} labels of {n_formulas} formulas, in {n_folds} folds."
    if labelled.n_unlabelled:
        said += f" {labelled.n_unlabelled} crystals have no usable label."
    if labelled.n_refused:
        said += f" {labelled.n_refused} crystals cannot be used."
    return said


def _learned(learned: Any) -> str:
    """What was learned instead of the label."""
    words = {"none": "the label", "log": "its logarithm", "yeo-johnson": "its Yeo-Johnson transform",
             "quantiles": "its quantile", "bounded": "its place between the bounds"}  # fmt: skip
    centre = learned.member.centres[learned.centre]
    models = len(learned.parts)
    several = f", {models} models" if models > 1 else ""
    return f"{words[learned.transform]}{', the median of leaves' if centre == 'median' else ''}{several}"
