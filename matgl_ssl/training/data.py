"""From what a user names to the crystals that are trained on, with everything left out written down."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matgl_ssl._files import digest
from matgl_ssl.crystals import CheckReport, CrystalDataset, read_crystals
from matgl_ssl.crystals.labels import check_labels, doubts
from matgl_ssl.crystals.physics import physics
from matgl_ssl.crystals.physics.frames import LABELS
from matgl_ssl.crystals.prepared import is_prepared, read_manifest
from matgl_ssl.crystals.storage import ID_COLUMN
from matgl_ssl.encoders import ARCHITECTURES, Encoder
from matgl_ssl.errors import DataError
from matgl_ssl.hub.fingerprint import fingerprint
from matgl_ssl.targets.compute import structures_key

from .checked import checked
from .config import RunConfig

logger = logging.getLogger(__name__)


def checked_crystals(
    crystals: CrystalDataset, encoder: Encoder, config: RunConfig, *, labels: Sequence[str] = ()
) -> tuple[CrystalDataset, CheckReport]:
    """Leave out the crystals the encoder cannot be trusted with, and warn of labels that cannot be what they should.

    Raises:
        NothingLeftError: If that is all of them.
        DataError: If a label of the others is no number, or of another shape.
    """
    crystals, report = checked(
        crystals, num_workers=config.num_workers, cluster=config.cluster, element_types=tuple(encoder.element_types),
        cutoff=encoder.cutoff, min_distance=config.min_distance,
    )  # fmt: skip
    check_labels(crystals, labels)
    for doubt in doubts(crystals, labels):
        logger.warning("%s: %s", crystals.source, doubt)
    if taught := [name for name in labels if name in LABELS]:
        for remark in physics(crystals.select_labels(taught)):
            if remark.ok is False:
                logger.warning("%s", remark)
    return crystals, report


def read_source(
    source: Any,
    *,
    columns: list[str] | None = None,
    computed: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> CrystalDataset:
    """Read crystals with no more label columns than needed, in our units.

    Args:
        source: What ``read_crystals`` takes.
        columns: Labels; all by default.
        computed: Columns of targets to keep where a prepared corpus has them.
        units: Units of energies, forces and stresses that were given.

    Raises:
        DataError: If there is nothing to read.
    """
    if source is None:
        raise DataError("No data: give --data (data=) a file, a folder, a table or structures.")
    if columns is not None and isinstance(source, (str, Path)) and is_prepared(Path(source)):
        columns = [*columns, *(name for name in computed if name in read_manifest(Path(source))["targets"])]
    return read_crystals(source, columns=columns, units=units)


def describe(source: Any) -> str:
    """How a source is written in ``config.yaml``."""
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return str(source)
    return f"in memory ({type(source).__name__})"


def data_facts(labels: Sequence[str], **parts: CrystalDataset) -> dict[str, str]:
    """What tells whether a resumed run sees the same crystals, in the same order, with the same labels."""
    names = {"train": "data", "val": "validation data", "test": "test data"}
    return {names[part]: _fingerprint(crystals, labels) for part, crystals in parts.items()}


def weights_facts(**sources: Any) -> dict[str, str]:
    """What tells whether it starts from the same weights, whatever they are called; nothing of random ones."""
    loaded = {name: source for name, source in sources.items() if source is not None and source not in ARCHITECTURES}
    return {name: fingerprint(source, prefer=("encoder", "model", "potential")) for name, source in loaded.items()}


def _fingerprint(crystals: CrystalDataset, labels: Sequence[str]) -> str:
    def values() -> Iterator[str | bytes]:
        yield structures_key(crystals)
        for column in (ID_COLUMN, *labels):
            for value in crystals.each(column):
                yield value.tobytes() if isinstance(value, np.ndarray) else f"{value!r}\n"

    return digest(values())


def random_split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers at random.

    Returns:
        Sorted rows of the larger and of the smaller part; the smaller has at least one row when ``fraction > 0``
        and there are two rows or more.
    """
    n_small = min(n - 1, max(1, round(fraction * n))) if fraction > 0 else 0
    order = np.random.default_rng([seed, 0x5EED]).permutation(n)
    return np.sort(order[n_small:]), np.sort(order[:n_small])
