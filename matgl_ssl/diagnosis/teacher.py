"""Labels against a teacher: a potential or calculator labels some of the crystals, and the labels are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.physics import Remark
from matgl_ssl.crystals.physics.frames import Frame, frames_of
from matgl_ssl.crystals.physics.identify import ENERGY, EXPECTED, FORCE, STRESS, nearest_unit
from matgl_ssl.targets.teacher import teacher_labels

SAMPLE = 64
_LEAST = 0.7
"""Correlation below which two sets of labels are not of one thing."""


def against_teacher(
    crystals: CrystalDataset,
    teacher: str | Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    trained_with: str | None = None,
) -> list[Remark]:
    """Compare energies, forces and stresses of a sample with a teacher's.

    Args:
        crystals: Crystals that the checks passed.
        teacher: A MatGL potential or an ASE calculator (see ``teacher_labels``).
        arguments: Keyword arguments of a calculator.
        trained_with: Graph library of a potential without a stamp.
    """
    given = {frame.crystal.id: frame for frame in frames_of(crystals)}
    rows = [row for row, name in enumerate(crystals.ids) if name in given]
    if not rows:
        return []
    rows = np.random.default_rng(0).permutation(rows)[:SAMPLE].tolist()
    sample = crystals.select(sorted(rows)).select_labels([])
    taught = frames_of(teacher_labels(sample, teacher, arguments=arguments, trained_with=trained_with))
    pairs = [(given[frame.crystal.id], frame) for frame in taught]
    return [
        _compared(name, place, pairs, units)
        for place, (name, units) in enumerate((("energy", ENERGY), ("forces", FORCE), ("stress", STRESS)))
        if any(_values(frame, name) is not None for frame, _ in pairs)
    ]


def _values(frame: Frame, name: str) -> np.ndarray | None:
    """The label as an array; energies per atom, as the teacher knows them per cell."""
    if name == "energy":
        return np.array([frame.energy / len(frame.crystal)]) if np.isfinite(frame.energy) else None
    return frame.forces if name == "forces" else frame.stress


def _compared(name: str, place: int, pairs: list[tuple[Frame, Frame]], units: Mapping[str, float]) -> Remark:
    both = [(a, b) for x, y in pairs if (a := _values(x, name)) is not None and (b := _values(y, name)) is not None]
    code, flag = (
        f"{'force' if name == 'forces' else name}-unit",
        ("--energy-unit", "--force-unit", "--stress-unit")[place],
    )
    if not both:
        return Remark(code, name, None, "the teacher has none to compare with")
    given, taught = (np.concatenate([np.ravel(pair[i]) for pair in both]) for i in (0, 1))
    if name == "energy":  # codes count from different zeros
        given, taught = given - given.mean(), taught - taught.mean()
    size = float(np.sqrt((given**2).sum() * (taught**2).sum()))
    agreement = float((given * taught).sum()) / size if size > 0 else 0.0
    evidence = f"those of the teacher over {len(both)} crystals"
    if abs(agreement) < _LEAST:
        message = f"are not proportional to {evidence} (correlation {agreement:.2f})"
        return Remark(code, name, None, message)
    factor = float((given * taught).sum() / (taught**2).sum())
    unit = nearest_unit(1 / abs(factor), units)
    if unit == EXPECTED[place] and factor > 0:
        return Remark(code, name, True, f"agree with {evidence} (factor {factor:.2f})")
    sign = " with the opposite sign" if factor < 0 else ""
    message = f"are {factor:.4g} times {evidence}: {unit or 'another unit'}{sign}?"
    return Remark(code, name, False, message, f"Give the unit with {flag}{', and turn the sign' if sign else ''}.")
