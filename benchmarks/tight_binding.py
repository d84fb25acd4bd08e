"""What universal tight binding knows of the gaps of density functional theory, of which it has seen none.

    MATGL_SSL_DATA=... python benchmarks/tight_binding.py        # writes results/tight_binding.csv

400 crystals of Materials Project (``mp37k/train.parquet``) of at most 40 atoms, drawn with seed 0.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr

from matgl_ssl.crystals import read_crystals
from matgl_ssl.targets import CrystalTightBinding


def main() -> None:
    """Compute, compare, write."""
    crystals = read_crystals(Path(os.environ["MATGL_SSL_DATA"]) / "mp37k" / "train.parquet", columns=["band_gap"])
    small = np.flatnonzero(crystals.sizes() <= 40)
    sample = crystals.select(np.sort(np.random.default_rng(0).choice(small, 400, replace=False)))
    target, reference = CrystalTightBinding(), sample.column("band_gap").astype(float)
    gaps = np.array([target(crystal)[0] for crystal in sample])
    with (Path(__file__).parent / "results" / "tight_binding.csv").open("w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["material_id", "band_gap_dft_ev", "gap_tight_binding_ev"])
        writer.writerows(
            [name, f"{dft:.4g}", f"{gap:.4g}"] for name, dft, gap in zip(sample.ids, reference, gaps, strict=True)
        )
    known = np.isfinite(gaps)
    gaps, reference = gaps[known], reference[known]
    print(f"{known.sum()} crystals: rank correlation {spearmanr(gaps, reference).statistic:.2f}, ", end="")
    print(f"linear {pearsonr(gaps, reference).statistic:.2f}; metals told from the others: ", end="")
    print(f"{((gaps > 0.1) == (reference > 0.1)).mean():.0%}")


if __name__ == "__main__":
    main()
