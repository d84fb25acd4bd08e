"""Draw the crystals without labels that come with the package: the plain model of ``fit`` learns from them.

    MATGL_SSL_DATA=... python benchmarks/unlabelled.py

They are crystals of the Materials Project (CC BY 4.0, the set of CGCNN, doi:10.1063/1.4812323) with at most 20 atoms,
one of a formula, drawn at random. Coordinates are rounded to 1e-5 of a cell, far below the error of relaxed structures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgl_ssl.ensemble.plain import SHIPPED
from matgl_ssl.training.data import read_source

SOURCES = ("mp37k/train.parquet", "mp37k/val.parquet", "mp37k/test.parquet")
N, MAX_ATOMS, SEED = 3000, 20, 0


def main() -> None:
    """Write the file."""
    data = Path(os.environ["MATGL_SSL_DATA"])
    sources = [read_source(str(data / name), columns=[]) for name in SOURCES]
    small = [crystal for source in sources for crystal in source.rows(np.flatnonzero(source.sizes() <= MAX_ATOMS))]
    by_formula = {crystal.formula: crystal for crystal in small}
    chosen = np.random.default_rng(SEED).permutation(len(by_formula))[:N]
    some = [list(by_formula.values())[i] for i in chosen]
    single = pa.list_(pa.float32())
    table = pa.table(
        {
            "material_id": [crystal.id for crystal in some],
            "numbers": pa.array([crystal.numbers.tolist() for crystal in some], pa.list_(pa.uint8())),
            "frac_coords": pa.array([(crystal.frac_coords % 1).round(5).ravel().tolist() for crystal in some], single),
            "lattice": pa.array([crystal.lattice.round(4).ravel().tolist() for crystal in some], single),
        }
    )
    pq.write_table(table, SHIPPED, compression="zstd", compression_level=19, write_page_checksum=True)
    print(f"{len(some)} crystals, {SHIPPED.stat().st_size / 1e3:.0f} kB: {SHIPPED}")


if __name__ == "__main__":
    main()
