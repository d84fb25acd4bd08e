"""Write the small files that the documentation's commands read.

``python examples/alloys.py`` writes them into the current folder, or into a folder that you name. The crystals are
alloys of seven metals, labelled by ASE's effective medium theory (EMT). They take the place of your own:

    moduli.csv          120 rows: the name of a structure file, and a bulk modulus in GPa
    cifs/               the 120 structure files
    POSCAR, candidates/ a crystal, and 30 crystals, without labels
    crystals.parquet    300 other crystals without labels, to pretrain on
    frames.parquet      100 alloys with energies (eV), forces (eV/Å) and stresses (eV/Å³)
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from matgl_ssl.crystals.demo import demo_corpus, demo_task


def main(folder: Path) -> None:
    """Write all files into the folder, which may exist."""
    for name in ("cifs", "candidates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    alloys = list(demo_task(151))
    labelled, unlabelled, (last,) = alloys[:120], alloys[120:150], alloys[150:]
    for alloy in labelled:
        alloy.to_structure().to(str(folder / "cifs" / f"{alloy.id}.cif"))
    for alloy in unlabelled:
        alloy.to_structure().to(str(folder / "candidates" / f"{alloy.id}.cif"))
    last.to_structure().to(str(folder / "POSCAR"), fmt="poscar")
    rows = [
        {"file": f"cifs/{alloy.id}.cif", "bulk_modulus": round(alloy.labels["bulk_modulus"], 1)} for alloy in labelled
    ]
    pd.DataFrame(rows).to_csv(folder / "moduli.csv", index=False)
    demo_corpus(300).write_parquet(folder / "crystals.parquet")
    demo_task(100, seed=1).write_parquet(folder / "frames.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
