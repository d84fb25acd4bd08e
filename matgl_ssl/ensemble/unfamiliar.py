"""How much larger errors become where an element was never seen, tried on the labelled crystals themselves."""

from __future__ import annotations

from collections import Counter

import numpy as np

from matgl_ssl.errors import MatGLSSLError

from .learning import Learned, Learning
from .members import Lesson

_ELEMENTS = 8
_SHARE = (0.03, 0.5)
"""Share of the crystals that have an element which is left out in turn."""
_LARGEST = 4.0


def unseen_factor(learning: Learning, learned: Learned) -> float:
    """By what intervals widen for a crystal with an element that no labelled crystal has.

    Each of a few elements is left out in turn: a member is fitted to the crystals without it, and errs on those with
    it. The factor is the ratio of these errors to those out of fold, where other crystals have the element.

    Args:
        learning: What is learned.
        learned: A quick member, with its transformation.

    Returns:
        Between 1 and 4; 1.5 where there are too few crystals to try it.
    """
    name = f"unseen-{learning.name(learned.member, learned.transform, -1, learning.config.seed)}"
    if found := learning.units.get(name):
        return float(found["factor"])
    labels, inputs = learning.labelled.labels, learning.inputs
    has = [{int(z) for z in crystal.numbers} for crystal in inputs.crystals]
    counts = Counter(z for elements in has for z in elements)
    tried = sorted(
        (z for z, n in counts.items() if _SHARE[0] <= n / len(has) <= _SHARE[1]), key=lambda z: (-counts[z], z)
    )
    usual = unusual = 0.0
    for z in tried[:_ELEMENTS]:
        inside = np.array([z in elements for elements in has])
        transform = learning.transform(learned.transform, -1)
        lesson = Lesson(
            inputs.take(np.flatnonzero(~inside)), transform(labels[~inside]), None, learning.labelled.groups[~inside],
            0, learning.config.seed,
        )  # fmt: skip
        try:
            fitted = learned.member.fit(lesson)
        except MatGLSSLError:
            continue
        said = transform.back(fitted.predict(inputs.take(np.flatnonzero(inside))))[:, learned.centre, 0]
        unusual += float(np.abs(said - labels[inside]).sum())
        usual += float(np.abs(learned.out_of_fold[inside, 0] - labels[inside]).sum())
    factor = float(np.clip(unusual / usual, 1.0, _LARGEST)) if usual > 0 else 1.5
    learning.units.keep(name, {"factor": factor})
    return factor
