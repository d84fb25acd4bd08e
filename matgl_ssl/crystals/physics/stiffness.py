"""Stress against volume: a stretched cell pulls back, by a bulk modulus that crystals have.

Among cells of the same atoms, the mean normal stress rises with the logarithm of the volume, and the slope is the bulk
modulus: a few GPa for the alkali metals, 443 for diamond. Its sign is the sign convention, its size the unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matgl_ssl.crystals.physics.frames import Frame
from matgl_ssl.crystals.physics.identify import STRESS

MODULI = (0.5, 700.0)
"""Bulk moduli in GPa between which crystals lie, and some room: solid neon has 1, diamond 443."""
_ENOUGH = 3
_SPREAD = 0.01


@dataclass(frozen=True)
class Stiffness:
    """What cells of several volumes say of the stresses.

    Attributes:
        modulus: Median bulk modulus in the stresses' own unit, negative if compression is positive.
        agreement: Share of the families that have its sign.
        n_families: Families of cells it was taken from.
    """

    modulus: float
    agreement: float
    n_families: int

    def units(self) -> list[str]:
        """The units in which it is a crystal's."""
        in_gpa = {unit: abs(self.modulus) * factor / STRESS["GPa"] for unit, factor in STRESS.items()}
        return [unit for unit, value in in_gpa.items() if MODULI[0] <= value <= MODULI[1]]


def stiffness(frames: Sequence[Frame]) -> Stiffness | None:
    """Take bulk moduli from cells of the same atoms; None where no cells differ in volume and follow a line."""
    families: dict[bytes, list[tuple[float, float]]] = defaultdict(list)
    for frame in frames:
        if frame.stress is not None and frame.crystal.volume > 1e-3:
            pressure = float(np.trace(frame.stress)) / 3
            families[np.sort(frame.crystal.numbers).tobytes()].append((np.log(frame.crystal.volume), pressure))
    slopes = []
    for family in families.values():
        x, y = np.array(family).T
        if len(x) < _ENOUGH or np.ptp(x) < _SPREAD or np.ptp(y) == 0:
            continue
        dx, dy = x - x.mean(), y - y.mean()
        if abs((dx * dy).sum()) > 0.8 * np.sqrt((dx**2).sum() * (dy**2).sum()):
            slopes.append((dx * dy).sum() / (dx**2).sum())
    if not slopes:
        return None
    modulus = float(np.median(slopes))
    return Stiffness(modulus, float(np.mean(np.sign(slopes) == np.sign(modulus))), len(slopes))
