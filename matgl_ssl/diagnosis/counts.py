"""Counts: elements, sizes, volumes and edges of the crystals that a model can be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.batching import estimated_edges
from matgl_ssl.crystals.physics import Remark

FEW = 10
"""Crystals with an element below which a model hardly learns what it is."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of some numbers."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """That of an array with at least one number."""
        return cls(float(values.min()), float(np.median(values)), float(values.max()))

    def __str__(self) -> str:
        return f"{self.smallest:.4g} to {self.largest:.4g}, median {self.median:.4g}"


@dataclass(frozen=True)
class Summary:
    """What the crystals are.

    Attributes:
        formulas: Different reduced formulas.
        elements: Crystals with each element, the most frequent first.
        unknown: The same of elements that the model does not know, among all crystals that were read.
        atoms: Atoms of a crystal.
        volume_per_atom: In Å³.
        edges: Directed edges of a crystal at the cutoff, estimated from its density.
        total_edges: Their sum.
        longest_vector: Longest lattice vector of a crystal in Å.
        cutoff: In Å.
    """

    formulas: int
    elements: dict[str, int]
    unknown: dict[str, int]
    atoms: Spread
    volume_per_atom: Spread
    edges: Spread
    total_edges: int
    longest_vector: Spread
    cutoff: float


def count(good: CrystalDataset, everything: CrystalDataset, element_types: Collection[str], cutoff: float) -> Summary:
    """Count.

    Args:
        good: At least one crystal, all of which the checks passed.
        everything: All that were read.
        element_types: Elements the model knows.
        cutoff: Radius of the graph in Å.
    """
    sizes, edges = good.sizes(), estimated_edges(good, cutoff)
    vectors = np.array([np.reshape(cell, (3, 3)) for cell in good.each("lattice")], dtype=float)
    found = _elements(everything)
    return Summary(
        formulas=len(set(good.formulas())),
        elements=_elements(good),
        unknown={symbol: n for symbol, n in found.items() if symbol not in element_types},
        atoms=Spread.of(sizes),
        volume_per_atom=Spread.of(good.volumes() / sizes),
        edges=Spread.of(edges),
        total_edges=int(edges.sum()),
        longest_vector=Spread.of(np.linalg.norm(vectors, axis=2).max(1)),
        cutoff=cutoff,
    )


def _elements(crystals: CrystalDataset) -> dict[str, int]:
    numbers: Counter[int] = Counter()
    for row in crystals.each("numbers"):
        numbers.update([] if row is None else np.unique(row).tolist())
    return {Element.from_Z(z).symbol: n for z, n in numbers.most_common() if 1 <= z <= 118}


def remarks(counts: Summary, model: str, trained: Collection[str] | None = None) -> list[Remark]:
    """What to mind among the counts; ``trained`` are the elements that the model was trained on, if it says so."""
    found = []
    if trained and (others := [f"{s} ({n})" for s, n in counts.elements.items() if s not in trained]):
        message = f"{model} was trained on no crystal with {', '.join(others)} (crystals that have them here)"
        advice = "What it says of them is random: fine-tune on crystals that have them, or trust no prediction."
        found.append(Remark("untrained-elements", "elements", False, message, advice))
    if counts.unknown:
        names = ", ".join(f"{symbol} ({n})" for symbol, n in counts.unknown.items())
        message = f"are unknown to {model}: {names} (crystals that have them)"
        advice = "They are left out; choose a model whose element_types include them."
        found.append(Remark("unknown-elements", "elements", False, message, advice))
    if rare := [
        symbol for symbol, n in counts.elements.items() if n < FEW and sum(counts.elements.values()) > 20 * FEW
    ]:
        message = f"{', '.join(sorted(rare))} are in fewer than {FEW} crystals each"
        advice = "A model hardly learns them: trust no prediction for their compounds, or add crystals."
        found.append(Remark("rare-elements", "elements", None, message, advice))
    return found
