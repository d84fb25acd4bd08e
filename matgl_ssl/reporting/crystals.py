"""The crystals that a report shows: a run writes them down at its end, with vectors for the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Element

from matgl_ssl._files import atomic_path
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.targets import SpaceGroup
from matgl_ssl.targets.space_group import CRYSTAL_SYSTEMS

FILE = "crystals.parquet"
"""In a run directory: the crystals that its report shows."""
ON_MAP = 600
"""Crystals on the map at most: enough to see groups, and drawn quickly by a phone."""
IN_PART = 5000
"""Crystals of a part (train, test) that are kept at most."""

_FAMILIES = {
    "oxides": ("O",), "halides": ("F", "Cl", "Br", "I"), "other chalcogenides": ("S", "Se", "Te"),
    "pnictides": ("N", "P", "As", "Sb"), "borides, carbides, silicides": ("B", "C", "Si", "Ge"), "hydrides": ("H",),
}  # fmt: skip
_FAMILY = {symbol: family for family, symbols in _FAMILIES.items() for symbol in symbols}
INTERMETALLICS = "metals and intermetallics"


@dataclass(frozen=True, eq=False)
class Kept:
    """Some crystals that a report shows.

    Attributes:
        crystals: The crystals.
        part: What they were used for (``train``, ``val``, ``test``, ``out of fold``).
        target: The label column, where there is one.
        columns: Numbers of each crystal, ``(n,)``: any of ``label``, ``prediction``, ``lower`` and ``upper``.
        vectors: The vectors of some of them, ``(m, d)``.
        with_vectors: Which these are, ``(m,)``.
    """

    crystals: CrystalDataset
    part: str
    target: str = ""
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    with_vectors: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def frame(self) -> pd.DataFrame:
        """The rows that are kept, with what the map is coloured by."""
        rows = sample(len(self.crystals), IN_PART)
        rows = np.union1d(rows, self.with_vectors).astype(np.int64)
        crystals = self.crystals.select(rows)
        numbers = list(crystals.each("numbers"))
        sizes = crystals.sizes()
        vectors: list[np.ndarray | None] = [None] * len(rows)
        places = np.searchsorted(rows, self.with_vectors)
        for place, vector in zip(places, self.vectors, strict=True):
            vectors[place] = np.asarray(vector, dtype=np.float32)
        symbols = [[Element.from_Z(int(z)).symbol for z in np.unique(found)] for found in numbers]
        systems = [""] * len(rows)  # finding one takes milliseconds: only the map shows them
        for place, crystal in zip(places, crystals.rows(places), strict=True):
            systems[place] = crystal_system(crystal)
        kept = {name: np.asarray(values, dtype=float)[rows] for name, values in self.columns.items()}
        return pd.DataFrame(
            {
                "target": self.target, "part": self.part, "id": crystals.ids, "formula": crystals.formulas(),
                "elements": [" ".join(each) for each in symbols], "family": [family(each) for each in symbols],
                "crystal_system": systems, "n_atoms": sizes, "volume_per_atom": crystals.volumes() / sizes, **kept,
                "vector": vectors,
            }
        )  # fmt: skip


def keep_crystals(root: Path, kept: Sequence[Kept]) -> None:
    """Write what the report of a run shows of crystals into its directory."""
    frame = pd.concat([each.frame() for each in kept], ignore_index=True)
    table = pa.Table.from_pandas(frame.drop(columns="vector"), preserve_index=False)
    table = table.append_column("vector", pa.array(list(frame["vector"]), pa.list_(pa.float32())))
    with atomic_path(root / FILE) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_kept(root: Path) -> pd.DataFrame | None:
    """What ``keep_crystals`` wrote; None if nothing did."""
    if not (root / FILE).exists():
        return None
    return pq.read_table(root / FILE, page_checksum_verification=True).to_pandas()


def sample(n: int, most: int) -> np.ndarray:
    """At most ``most`` of ``n`` rows, always the same ones, sorted."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([n, 0x5EE]).choice(n, most, replace=False))


def family(symbols: Sequence[str]) -> str:
    """The group of compounds that a crystal belongs to, by its most electronegative element."""
    known = [symbol for symbol in symbols if symbol in _FAMILY]
    if not known or len(symbols) == 1:
        return "elements" if len(symbols) == 1 else INTERMETALLICS
    return _FAMILY[max(known, key=lambda symbol: Element(symbol).X)]


def crystal_system(crystal: Crystal) -> str:
    """Cubic, hexagonal and so on, as spglib finds it; ``unknown`` where it finds nothing."""
    number = float(SpaceGroup()(crystal)[0])
    return next((name for name, last in CRYSTAL_SYSTEMS.items() if number <= last), "unknown")
