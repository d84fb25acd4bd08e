"""Elements that a model was never trained on: its embeddings of them are the random numbers it was made with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals import CrystalDataset

logger = logging.getLogger(__name__)


def untrained_elements(stamp: Mapping[str, Any], numbers: np.ndarray) -> list[str]:
    """Elements of a crystal that no crystal had which its model was trained on.

    Args:
        stamp: Of the model. If it does not say its elements, there are none here: nobody knows.
        numbers: Atomic numbers of the crystal.
    """
    trained = stamp.get("elements")
    symbols = (Element.from_Z(int(z)).symbol for z in np.unique(numbers))
    return [symbol for symbol in symbols if symbol not in trained] if trained else []


def warn_of_elements(stamp: Mapping[str, Any], crystals: CrystalDataset) -> None:
    """Log which elements of crystals a model was never trained on, and how many crystals have them."""
    found = [others for numbers in crystals.each("numbers") if (others := untrained_elements(stamp, numbers))]
    if found:
        logger.warning(
            "%d of %d crystals have elements that the model was never trained on (%s): do not trust its predictions.",
            len(found), len(crystals), ", ".join(sorted({symbol for others in found for symbol in others})),
        )  # fmt: skip
