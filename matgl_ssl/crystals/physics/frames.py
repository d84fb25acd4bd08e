"""Frames: crystals with energies, forces and stresses, as the tests of labels against physics take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import CrystalDataset
from matgl_ssl.errors import DataError

LABELS = ("energy", "forces", "stress")
_MOST = 20_000
_BLOCK = 1_000
_ABSURD = 1e12  # in no unit is a label that large


@dataclass(frozen=True, eq=False)
class Frame:
    """A crystal with what was computed for it; None or NaN where it was not.

    Attributes:
        crystal: The crystal.
        energy: In eV, if the unit is right.
        forces: Shape ``(N, 3)``, in eV/Å.
        stress: Shape ``(3, 3)``, in eV/Å³, positive under tension.
    """

    crystal: Crystal
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None


def frames_of(crystals: CrystalDataset, rows: Sequence[int] | np.ndarray | None = None) -> list[Frame]:
    """Read the crystals that have one of the labels; of many, evenly spaced blocks, as relaxations stand together.

    Args:
        crystals: The crystals; rows and labels that do not fit together are passed over.
        rows: Which of them may be read; all by default.
    """
    names = [name for name in LABELS if name in crystals.label_names]
    if not names:
        return []
    rows = np.arange(len(crystals)) if rows is None else np.asarray(rows)
    if len(rows) > _MOST:
        starts = np.linspace(0, len(rows) - _BLOCK, _MOST // _BLOCK).astype(int)
        rows = np.concatenate([rows[start : start + _BLOCK] for start in starts])
    crystals = crystals.select_labels(names)
    frames = []
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        try:
            read = crystals.rows(part)
        except DataError:  # a malformed row, which the checks tell of
            continue
        frames += [_frame(crystal) for crystal in read if len(crystal) and np.isfinite(crystal.lattice).all()]
    return [f for f in frames if f.forces is not None or f.stress is not None or np.isfinite(f.energy)]


def _frame(crystal: Crystal) -> Frame:
    energy = crystal.labels.get("energy")
    return Frame(
        crystal,
        float(energy) if isinstance(energy, int | float) and abs(energy) < _ABSURD else np.nan,
        _array(crystal.labels.get("forces"), (len(crystal), 3)),
        _array(crystal.labels.get("stress"), (3, 3)),
    )


def _array(value: Any, shape: tuple[int, int]) -> np.ndarray | None:
    fits = isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in "fiu"
    return value.astype(float) if fits and (np.abs(value) < _ABSURD).all() else None  # nor with NaN
