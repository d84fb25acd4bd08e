"""Crystals that are in two parts: what was trained on tests nothing."""

from __future__ import annotations

import logging

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.duplicates import find_duplicates

from .splits import Splits

logger = logging.getLogger(__name__)

_COMPARED = 2_000
"""Crystals of shared formulas up to which structures are compared."""


def warn_of_shared(splits: Splits) -> None:
    """Say how many held-out crystals the training part has, too: by formula, and as structures."""
    formulas = {*splits.train.formulas()}
    for name, part in (("validation", splits.val), ("test", splits.test)):
        rows = [i for i, formula in enumerate(part.formulas()) if formula in formulas]
        if rows:
            logger.warning(
                "%d of %d %s crystals have a formula that training crystals have too%s: the score on them is too good. "
                "Leave them out of one of the files, or use --split formula.",
                len(rows), len(part), name, _as_structures(splits.train, part.select(rows)),
            )  # fmt: skip
    parts = [part for part in splits.parts().values() if len(part)]
    repeated = sum(map(len, parts)) - len({formula for part in parts for formula in part.formulas()})
    if len(parts) > 1 and repeated and not any({*part.formulas()} & formulas for part in (splits.val, splits.test)):
        logger.info("%d crystals have the formula of another one; no formula is in two parts.", repeated)


def _as_structures(train: CrystalDataset, shared: CrystalDataset) -> str:
    wanted = {*shared.formulas()}
    theirs = train.select([i for i, formula in enumerate(train.formulas()) if formula in wanted])
    if len(theirs) + len(shared) > _COMPARED:
        return ""
    first = find_duplicates(theirs, shared)[len(theirs) :]
    return f", and {int(np.sum((first >= 0) & (first < len(theirs))))} are the same structure"
