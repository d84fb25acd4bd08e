"""Labels of the right shape, looked at before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from matgl_ssl.crystals.storage import ID_COLUMN, CrystalDataset
from matgl_ssl.errors import DataError


def check_labels(crystals: CrystalDataset, names: Sequence[str]) -> None:
    """Refuse labels that are not numbers, or not of one shape.

    ``energy`` is one number, ``forces`` are three for each atom, ``stress`` is nine or, in ASE's order (xx, yy, zz, yz,
    xz, xy), six. What begins with ``atom:`` has equally many for each atom. All others have equally many for each
    crystal. A crystal may lack any label.

    Raises:
        DataError: Naming the column and the first crystal at fault.
    """
    sizes = crystals.sizes()
    for name in names:
        first: int | None = None
        for index, value in enumerate(crystals.each(name)):
            if value is None:
                continue
            count, n_atoms = _count(value, name), int(sizes[index])
            if first is None:
                first = count // max(n_atoms, 1) if name.startswith("atom:") else count
            fixed = {"energy": ((0,), "one number"), "forces": ((3 * n_atoms,), f"{3 * n_atoms}, 3 for each atom"),
                     "stress": ((9, 6), "9 (3 by 3), or 6 in ASE's order")}  # fmt: skip
            usual = (first * n_atoms if name.startswith("atom:") else first,)
            wanted, said = fixed.get(name, (usual, f"{usual[0] or 'one number'}, as those before it"))
            if count < 0 or count not in wanted:
                got = f"{count} numbers" if count > 0 else _said(value)
                said = "numbers" if count < 0 else said
                _refuse(crystals, name, index, got, said)


def doubts(crystals: CrystalDataset, names: Sequence[str]) -> list[str]:
    """What is odd about forces and stresses: numbers that are none."""
    found = []
    for name in {*names} & {"forces", "stress"}:
        holes = sum(value is not None and bool(np.isnan(value).any()) for value in crystals.each(name))
        if holes:
            found.append(f"{holes} of {len(crystals)} crystals have {name} that are no numbers: those do not count.")
    return found


def numbers(crystals: CrystalDataset, name: str) -> np.ndarray:
    """A column of one number for each crystal, ``(len(crystals),)`` float64; NaN where there is none.

    Raises:
        DataError: If it holds anything else.
    """
    column = crystals.column(name)
    if column.dtype.kind in "fiub":
        return column.astype(float)
    for index, value in enumerate(column):
        if value is not None and _count(value, name):
            _refuse(crystals, name, index, _said(value), "one number")
    return np.full(len(column), np.nan)


def _count(value: Any, name: str) -> int:
    """How many numbers a label is: 0 for one that stands alone, -1 for what is no number."""
    if isinstance(value, np.ndarray):
        return len(value) if value.dtype.kind in "fiu" else -1
    return 0 if isinstance(value, Real) and not (isinstance(value, bool) and name == "energy") else -1


def _said(value: Any) -> str:
    return f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40}"


def _refuse(crystals: CrystalDataset, name: str, index: int, got: str, wanted: str) -> None:
    id_ = crystals.select([index]).ids[0]
    raise DataError(f"{crystals.source}: column {name!r} of {ID_COLUMN} {id_!r} is {got}; expected: {wanted}.")
