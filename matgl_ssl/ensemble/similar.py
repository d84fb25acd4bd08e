"""Crystals like the labelled ones, made from them: elements exchanged within their groups, cells scaled by radii."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from pymatgen.core import Element

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.elements import element_table

_EXCHANGED = 0.5
"""Probability that an element is exchanged; at least one is."""
_SCALE = 0.02
"""Deviation of the length of a cell from what radii say."""


def similar_crystals(crystals: Sequence[Crystal], n: int, elements: Iterable[str], seed: int) -> list[Crystal]:
    """Make crystals that are likely to be like some others, without a label.

    Each keeps the structure of a random one of them. Some of its elements become others of their group, as in the
    search for new compounds by substitution, and its cell grows or shrinks by the ratio of covalent radii.

    Args:
        crystals: The others.
        n: How many to make.
        elements: Symbols that may occur in the new ones.
        seed: Seed of what is chosen.

    Returns:
        At most ``n`` crystals: those in which nothing can be exchanged are left out.
    """
    known = frozenset(Element(symbol).Z for symbol in elements)
    rng = np.random.default_rng([seed, 0x51B5])
    made = [_exchanged(crystals[i], known, rng, f"like-{k}") for k, i in enumerate(rng.integers(len(crystals), size=n))]
    return [crystal for crystal in made if crystal is not None]


def _exchanged(crystal: Crystal, known: frozenset[int], rng: np.random.Generator, name: str) -> Crystal | None:
    """One crystal with elements exchanged; None if there is nothing to exchange them for."""
    present = [int(z) for z in np.unique(crystal.numbers)]
    choices = {z: [other for other in _group_of(z) if other in known and other not in present] for z in present}
    possible = [z for z in present if choices[z]]
    if not possible:
        return None
    always = rng.choice(possible)
    becomes = np.arange(len(element_table(("covalent-radius",))))
    for z in possible:
        if z == always or rng.random() < _EXCHANGED:
            becomes[z] = rng.choice(choices[z])
    numbers = becomes[crystal.numbers]
    before, after = (element_table(("covalent-radius",))[of, 0] for of in (crystal.numbers, numbers))
    scale = after.mean() / before.mean() * (1 + _SCALE * rng.standard_normal())
    if not np.isfinite(scale):
        return None
    return Crystal(numbers, crystal.frac_coords, crystal.lattice * scale, id=name)


@lru_cache(maxsize=128)
def _group_of(number: int) -> tuple[int, ...]:
    """The other elements of a group of the periodic table; lanthanoids and actinoids are groups of their own."""
    return tuple(z for z in range(1, 95) if z != number and _key(z) == _key(number))


def _key(number: int) -> tuple[str, int]:
    element = Element.from_Z(number)
    if element.is_lanthanoid or element.is_actinoid:
        return ("lanthanoid" if element.is_lanthanoid else "actinoid"), 0
    return "group", element.group
