"""A row of a table or a JSON object: where its structure is, and which of its values are labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_ssl.crystals.layouts.entries import Entry
from matgl_ssl.crystals.records import Crystal
from matgl_ssl.crystals.storage import STRUCTURE_COLUMNS
from matgl_ssl.errors import DataError


def row_entry(row: Any, key: str) -> Entry:
    """A pymatgen structure as a dict, or a row: labels beside ``structure`` (a dict or its JSON text) or our columns.

    Values that are neither numbers, text nor lists of numbers are left out.
    """
    try:
        return key, _row_structure(row), _row_labels(row)
    except Exception as err:  # whatever a stranger's dict makes pymatgen raise
        return key, err, {}


def _row_structure(row: Any) -> Crystal | Structure:
    if isinstance(row, Mapping) and "structure" in row:
        content = row["structure"]
        return Structure.from_dict(json.loads(content) if isinstance(content, str) else content)
    if isinstance(row, Mapping) and all(name in row for name in STRUCTURE_COLUMNS):
        numbers, coords, lattice = (np.array(row[name], dtype=float) for name in STRUCTURE_COLUMNS)
        return Crystal(numbers.astype(np.int64), coords.reshape(len(numbers), 3), lattice.reshape(3, 3))
    if isinstance(row, Mapping) and "lattice" in row and "sites" in row:
        return Structure.from_dict(dict(row))
    raise DataError(
        "neither a pymatgen structure (lattice, sites), nor a row with structure or "
        f"{', '.join(STRUCTURE_COLUMNS)}: {str(row)[:80]}"
    )


def _row_labels(row: Mapping[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    if "sites" in row:
        return labels
    for name, value in row.items():
        if name in ("structure", *STRUCTURE_COLUMNS):
            continue
        if isinstance(value, list):
            try:
                labels[name] = np.array(value, dtype=float)
            except (TypeError, ValueError):
                continue
        elif value is None or isinstance(value, (str, bool, int, float)):
            labels[name] = value
    return labels
