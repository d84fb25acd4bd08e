"""Overlap of two files: by formula, by prototype and by structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.duplicates import find_duplicates
from matgl_ssl.crystals.physics import Remark

from .duplicates import affordable
from .prototypes import prototypes

SAMPLE = 500
"""Crystals of each file whose symmetry is looked for."""


@dataclass(frozen=True)
class Overlap:
    """How much of a file another file has, too.

    Attributes:
        source: The other file.
        crystals: Crystals of this file.
        others: Crystals of the other file.
        formula: Crystals of this file whose reduced formula the other has.
        structure: Crystals of this file that the other has as structures: in any cell, shifted, or renamed.
        structure_sample: Crystals of ``formula`` that were compared as structures.
        prototype: Crystals of ``prototype_sample`` whose prototype occurs among as many of the other's.
        prototype_sample: Crystals of this file whose prototype was sought, drawn at random where there are more.
        examples: Ids of some that are structures of both, each with that of the other file.
    """

    source: str
    crystals: int
    others: int
    formula: int
    structure: int
    structure_sample: int
    prototype: int
    prototype_sample: int
    examples: tuple[tuple[str, str], ...] = ()


def overlap(crystals: CrystalDataset, other: CrystalDataset) -> tuple[Overlap, list[Remark]]:
    """Look for crystals of one file in another.

    Args:
        crystals: Crystals that the checks passed.
        other: Likewise.
    """
    here, there = crystals.formulas(), other.formulas()
    both = {*here} & {*there}
    rows, theirs = ([i for i, formula in enumerate(formulas) if formula in both] for formulas in (here, there))
    mine, yours = affordable(crystals.select(rows)), affordable(other.select(theirs))
    first = find_duplicates(yours, mine)[len(yours) :]
    same = np.flatnonzero((first >= 0) & (first < len(yours)))
    examples = zip(mine.select(same[:3]).ids, yours.select(first[same[:3]]).ids, strict=True)
    known = {*prototypes(list(_sample(other)))} - {None}
    sample = prototypes(list(_sample(crystals)))
    n_known = sum(label in known for label in sample)
    found = Overlap(
        other.source, len(crystals), len(other), len(rows), len(same), len(mine), n_known, len(sample),
        tuple(examples),
    )  # fmt: skip
    return found, _remarks(found)


def _sample(crystals: CrystalDataset) -> CrystalDataset:
    order = np.random.default_rng(0).permutation(len(crystals))
    return crystals.select(np.sort(order[:SAMPLE]))


def _remarks(found: Overlap) -> list[Remark]:
    if not found.formula:
        return []
    message = (
        f"has the formulas of {found.formula} of {found.crystals} crystals, and "
        f"{found.structure} of {found.structure_sample} of them as structures"
    )
    advice = "To test on one of the files, leave these out of the other (pretrain --exclude-formulas-of FILE)."
    return [Remark("overlap", found.source, False, message, advice)]
