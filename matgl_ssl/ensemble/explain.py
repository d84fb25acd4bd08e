"""``explain``: how much of a prediction comes from composition, bonds, vibrations, bands, and other named quantities.

Shapley values (Shapley 1953; Lundberg and Lee, arXiv 1705.07874) of groups of descriptors, exact over all groups. A
group that is left out is missing: learners then take it to be as in the average labelled crystal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.acceleration import using
from matgl_ssl.boundary import verb
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.targets import AtomStatistics, Descriptors, Estimates, Slab, VibrationalSpectrum

from .inputs import Inputs
from .predict import with_inputs
from .predictor import TargetPredictor

_BATCH = 32


@dataclass(frozen=True)
class Explanation:
    """Where a prediction comes from.

    Attributes:
        id: Name of the crystal.
        name: The target.
        unit: Its unit; empty if none is known.
        value: What the learners on descriptors say of the crystal.
        average: What they say if they know nothing of it.
        parts: What each quantity adds to that; the sum of all is ``value - average``.
        share: Weight of these learners among all of the combination.
    """

    id: str
    name: str
    unit: str
    value: float
    average: float
    parts: Mapping[str, float]
    share: float

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        ordered = sorted(self.parts.items(), key=lambda part: -abs(part[1]))
        parts = ", ".join(f"{name} {part:+.3g}" for name, part in ordered)
        return f"{self.id}  {self.name} = {self.value:.4g}{unit}; {self.average:.4g} for an average crystal; {parts}"


@verb
@using
def explain(*, model: str | Path, data: Any) -> list[Explanation]:
    """Say how much of each prediction comes from which quantity.

    Only learners on descriptors can be asked: trees, kernels, Gaussian processes and lines. ``share`` says how much
    they count among all.

    Args:
        model: A directory that ``fit`` left.
        data: Crystals (see ``read_crystals``). Bad ones are left out.

    Returns:
        An explanation for each crystal and target.

    Raises:
        ModelError: If ``model`` is no directory of a fit, or no learner on descriptors counts in it.
        ConfigError: If it predicts classes.
        DataError: If there is nothing to explain.
    """
    predictor, crystals, inputs = with_inputs(model, data)
    return [found for target in predictor.targets for found in _explained(target, inputs, crystals.ids)]


def _explained(target: TargetPredictor, inputs: Inputs, ids: list[str]) -> list[Explanation]:
    average, parts = shapley_values(target, inputs)
    share = float(sum(member["weight"] for member in _on_descriptors(target)))
    return [
        Explanation(
            id_, target.name, target.unit, float(average + values.sum()), average,
            dict(zip(QUANTITIES, values.tolist(), strict=True)), share,
        )
        for id_, values in zip(ids, parts, strict=True)
    ]  # fmt: skip


def shapley_values(target: TargetPredictor, inputs: Inputs) -> tuple[float, np.ndarray]:
    """What an average crystal is predicted to be, and what each quantity adds to that.

    Args:
        target: What predicts.
        inputs: The crystals.

    Returns:
        A number, and shape ``(n, quantities)``, both in the label's unit.

    Raises:
        ModelError: If no learner on descriptors counts.
        ConfigError: If classes are predicted.
    """
    if target.classes:
        raise ConfigError(f"{target.name} is a class: only numbers can be explained so far.")
    members = _on_descriptors(target)
    if not members:
        raise ModelError(f"{target.name}: no learner on descriptors counts, and only these can be explained.")
    known = np.array(list(product([False, True], repeat=len(QUANTITIES))))
    weights = np.array([member["weight"] for member in members])
    said = np.concatenate(
        [
            np.einsum("m,mn->n", weights / weights.sum(), [target.said(m, masked)[:, 0] for m in members])
            for masked in _masked(inputs, known)
        ]
    ).reshape(len(inputs), len(known))
    return float(said[0, 0]), said @ _shapley_weights(known)


def average_parts(target: TargetPredictor, inputs: Inputs) -> dict[str, float]:
    """How much each quantity moves predictions on average, in the label's unit; the largest first.

    Args:
        target: What predicts.
        inputs: Crystals to average over.

    Raises:
        ModelError: If no learner on descriptors counts.
        ConfigError: If classes are predicted.
    """
    sizes = np.abs(shapley_values(target, inputs)[1]).mean(0)
    return {name: float(size) for size, name in sorted(zip(sizes, QUANTITIES, strict=True), reverse=True)}


def _on_descriptors(target: TargetPredictor) -> list[dict[str, Any]]:
    """Learners that count and see descriptors alone."""
    names = ("descriptors", "more descriptors", "estimates")
    return [m for m in target.counting if not m["fields"].get("encoder") and m["fields"].get("numbers") in names]


def _masked(inputs: Inputs, known: np.ndarray) -> list[Inputs]:
    """The crystals, once for each set of known quantities; what is not known is NaN."""
    return [
        inputs.take(np.arange(first, min(first + _BATCH, len(inputs)))).masked(known, QUANTITIES)
        for first in range(0, len(inputs), _BATCH)
    ]


def _shapley_weights(known: np.ndarray) -> np.ndarray:
    """How much a prediction with each set of known quantities adds to the value of each quantity, ``(sets, k)``."""
    k = known.shape[1]
    sizes = known.sum(1)
    with_it = np.array([math.factorial(s - 1) * math.factorial(k - s) if s else 0 for s in sizes])
    without = np.array([math.factorial(s) * math.factorial(k - s - 1) if s < k else 0 for s in sizes])
    return np.where(known, with_it[:, None], -without[:, None]) / math.factorial(k)


def _quantities() -> dict[str, dict[str, slice]]:
    """Named quantities: which numbers of which column (see ``Inputs``) belong to each."""
    found: dict[str, dict[str, slice]] = {}

    def add(column: str, sizes: Mapping[str, int]) -> None:
        start = 0
        for name, size in sizes.items():
            found.setdefault(name, {})[column] = slice(start, start + size)
            start += size

    composition, density, symmetry, coordination = (part.size for part in Descriptors.parts)
    bonds, vibrations, bands = (part.size for part in Estimates.parts)
    atoms = [4 * part.size for part in AtomStatistics.parts]
    add(
        "descriptors",
        {
            "composition": composition,
            "density": density,
            "symmetry": symmetry,
            "coordination": 2 * coordination,
            "size": 1,
        },
    )
    add("estimates", {"bonds": bonds, "vibrations": vibrations, "bands": bands})
    add("atoms", dict(zip(("bonds", "vibrations", "bands", "coordination"), atoms, strict=True)))
    add("vibrations", {"vibrations": VibrationalSpectrum.size})
    add("slab", {"slab": Slab.size})
    return found


QUANTITIES = _quantities()
"""What predictions are attributed to: composition, density, symmetry, coordination, atoms in the primitive cell,
bonds (Pauling), vibrations (Gordy), bands (tight binding), and what slabs are like."""
