"""From what a user names to the crystals that are trained on, with everything left out written down."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from matgl_ssl.crystals import CrystalDataset, check_dataset, read_crystals
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import DataError

from .config import RunConfig
from .rundir import RunDirectory


def checked_crystals(
    crystals: CrystalDataset, encoder: Encoder, config: RunConfig, run: RunDirectory, *, name: str = "skipped.json"
) -> CrystalDataset:
    """Leave out the crystals the encoder cannot be trusted with, and write their ids into the run directory."""
    kept, report = check_dataset(
        crystals, element_types=encoder.element_types, cutoff=encoder.cutoff, min_distance=config.min_distance
    )
    report.write(run.path / name)
    return kept


def read_source(source: Any, *, columns: list[str] | None = None) -> CrystalDataset:
    """Read crystals with no more label columns than needed.

    Raises:
        DataError: If there is nothing to read.
    """
    if source is None or (isinstance(source, str) and not source):
        raise DataError("No data: give --data (data=) a file, a folder, a table or structures.")
    return read_crystals(source, columns=columns)


def describe(source: Any) -> str:
    """How a source stands in ``config.yaml``."""
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return str(source)
    return f"in memory ({type(source).__name__})"


def fingerprint(crystals: CrystalDataset) -> str:
    """Hash of the crystals' names and order: whether a resumed run sees the same data."""
    digest = hashlib.sha256(b"[")
    for i, name in enumerate(crystals.each_id()):
        digest.update(f"{', ' if i else ''}{json.dumps(name)}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def random_split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers at random.

    Returns:
        Sorted rows of the larger and of the smaller part; the smaller has at least one row when ``fraction > 0``
        and there are two rows or more.
    """
    n_small = min(n - 1, max(1, round(fraction * n))) if fraction > 0 else 0
    order = np.random.default_rng([seed, 0x5EED]).permutation(n)
    return np.sort(order[n_small:]), np.sort(order[:n_small])
